//! Bytes of a peer, cut anywhere: every cap holds, nothing panics, and what was read is written the same again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use minions_core::api::guest::{
    Clamp, ExecControl, ExecEvent, Frame, FrameDecoder, GuestCall, Hello, MAX_CONTROL, MAX_DATA, ReadyReport, Reply,
};

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let whole = decode(bytes, bytes.len().max(1));
    let cut = decode(bytes, usize::from(cut) % bytes.len().max(1) + 1);
    assert_eq!(whole, cut, "where the bytes were cut makes no difference");
    let mut again = BytesMut::new();
    for frame in &whole.0 {
        frame.encode(&mut again);
    }
    assert_eq!(decode(&again, again.len().max(1)), (whole.0, true));
});

/// The frames, and whether the stream ended well.
fn decode(bytes: &[u8], piece: usize) -> (Vec<Frame>, bool) {
    let mut decoder = FrameDecoder::new();
    let mut frames = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.feed(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => {
                    look(&frame);
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(_) => return (frames, false),
            }
        }
    }
    let ended = decoder.finish().is_ok();
    (frames, ended)
}

fn look(frame: &Frame) {
    match frame {
        Frame::Control(text) => assert!(text.len() <= MAX_CONTROL),
        Frame::Data { bytes, .. } => assert!(bytes.len() <= MAX_DATA),
        Frame::End { .. } => {}
    }
    let _ = frame.message::<GuestCall>();
    let _ = frame.message::<Hello>();
    let _ = frame.message::<ExecControl>();
    let _ = frame.message::<ExecEvent>();
    if let Ok(reply) = frame.message::<Reply>() {
        let _ = reply.ok();
    }
    if let Ok(report) = frame.message::<ReadyReport>() {
        let _ = report.clamp();
    }
}
