//! Names of a directory, as a client shows them.

use super::files::FileAttrs;

const SECONDS_OF_DAY: u32 = 86_400;

/// A line such as `ls -l` writes, with the time in UTC. Users and groups stay numbers: a name would be the guest's.
pub(super) fn line(name: &[u8], attrs: &FileAttrs) -> Vec<u8> {
    let mode = attrs.mode.unwrap_or(0);
    let kind = match (attrs.is_dir(), attrs.is_link(), attrs.is_file()) {
        (true, ..) => 'd',
        (_, true, _) => 'l',
        (_, _, true) => '-',
        _ => '?',
    };
    let bits: String = (0..9)
        .map(|bit| match mode & (0o400 >> bit) {
            0 => '-',
            _ => ['r', 'w', 'x'][bit % 3],
        })
        .collect();
    let (user, group) = attrs.owner.unwrap_or_default();
    let written = attrs.times.map_or(0, |(_, written)| written);
    let (year, month, day) = date(written / SECONDS_OF_DAY);
    let minute = written % SECONDS_OF_DAY / 60;
    let mut line = format!(
        "{kind}{bits}    1 {user:<8} {group:<8} {:>12} {year:04}-{month:02}-{day:02} {:02}:{:02} ",
        attrs.size.unwrap_or(0),
        minute / 60,
        minute % 60,
    )
    .into_bytes();
    line.extend_from_slice(name);
    line
}

/// Year, month and day of a number of days after 1970 began.
fn date(days: u32) -> (u32, u32, u32) {
    // Counted from March 0000 on: the day that a leap year adds comes last then.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u32::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_ls_tells() {
        assert_eq!([date(0), date(11_016), date(20_781)], [(1970, 1, 1), (2000, 2, 29), (2026, 11, 24)]);
        let attrs = FileAttrs {
            size: Some(7),
            owner: Some((0, 33)),
            mode: Some(0o100_640),
            times: Some((0, 20_781 * SECONDS_OF_DAY + 3_720)),
        };
        let line = String::from_utf8(line(b"a b", &attrs)).unwrap();
        assert_eq!(line, "-rw-r-----    1 0        33                  7 2026-11-24 01:02 a b");
    }
}
