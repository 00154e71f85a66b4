//! Figures about requests, in the text format that Prometheus reads.
//!
//! A registry of its own for each server, so that two in one process do not mix. Labels are routes, methods and
//! statuses, never anything that a caller chose: their number is bounded.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use super::App;
use crate::api::v1::HostStatus;

/// Upper bounds of the histogram of durations, in milliseconds.
const BOUNDS: [u64; 10] = [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 60_000];

#[derive(Debug, Default)]
pub(super) struct Metrics {
    series: Mutex<BTreeMap<Key, Series>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Default)]
struct Series {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    total: Duration,
}

impl Metrics {
    fn record(&self, key: Key, took: Duration) {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let series = all.entry(key).or_default();
        series.count += 1;
        series.total += took;
        for (bucket, bound) in series.buckets.iter_mut().zip(BOUNDS) {
            if took <= Duration::from_millis(bound) {
                *bucket += 1;
            }
        }
    }

    pub(super) fn render(&self, streams: usize, ready: bool) -> String {
        let all = self.series.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "# HELP minions_ready Whether the service is ready.\n# TYPE minions_ready gauge\nminions_ready {}\n\
             # HELP minions_streams Streams into guests that are open.\n# TYPE minions_streams gauge\nminions_streams {streams}\n\
             # HELP minions_http_request_seconds How long requests took.\n# TYPE minions_http_request_seconds histogram\n",
            u8::from(ready),
        );
        for (Key { route, method, status }, series) in &all {
            let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
            let name = "minions_http_request_seconds";
            for (bucket, bound) in series.buckets.iter().zip(BOUNDS) {
                let bound = Duration::from_millis(bound).as_secs_f64();
                let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {bucket}");
            }
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {}", series.count);
            let _ = writeln!(text, "{name}_sum{{{labels}}} {}", series.total.as_secs_f64());
            let _ = writeln!(text, "{name}_count{{{labels}}} {}", series.count);
        }
        text
    }
}

/// How full the host's storage is.
pub(super) fn storage(host: &HostStatus) -> String {
    let gauges = [
        ("minions_storage_bytes", "Bytes of the storage.", Some(host.storage_total)),
        ("minions_storage_used_bytes", "Bytes used of it.", Some(host.storage_used)),
        (
            "minions_storage_metadata_bytes",
            "Bytes of what the storage keeps its books in.",
            host.storage_metadata_total,
        ),
        ("minions_storage_metadata_used_bytes", "Bytes used of that.", host.storage_metadata_used),
    ];
    let mut text = String::new();
    for (name, help, value) in gauges {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {}\n", value.get());
        }
    }
    text
}

/// Around every route.
pub(super) async fn measure(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let start = Instant::now();
    let response = next.run(request).await;
    app.metrics.record(Key { route, method, status: response.status().as_u16() }, start.elapsed());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_in_every_bucket_that_is_large_enough() {
        let metrics = Metrics::default();
        let key = Key { route: "/v1/vms".to_owned(), method: "GET", status: 200 };
        metrics.record(key, Duration::from_millis(7));
        let text = metrics.render(3, true);
        assert!(text.contains("le=\"0.005\"} 0\n") && text.contains("le=\"0.01\"} 1\n"), "{text}");
        assert!(text.contains("minions_streams 3\n") && text.contains("minions_ready 1\n"), "{text}");
    }
}
