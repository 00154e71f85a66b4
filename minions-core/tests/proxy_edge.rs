//! What the HTTPS proxy does with requests, in front of a whole service on the in-memory host.
#![cfg(all(feature = "proxy", feature = "http-server", feature = "http-client", feature = "sqlite"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may stop at what it did not expect")]

mod edge;
mod proxy_rig;

use edge::{Reply, new_vm, raw};
use minions_core::api::v1;
use minions_core::service::{LoginLinks, VmAction};
use proxy_rig::{CONTROL, DOMAIN, Front, print, token};

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

#[tokio::test]
async fn a_name_leads_to_its_vm_and_no_other() {
    let front = Front::start().await;
    let (one, two) = (front.public("one").await, front.public("two").await);
    for vm in [&one, &two] {
        let reply = front.get(vm.name.as_str(), "").await;
        assert_eq!((reply.status, text(&reply)), (200, format!("hello from {} ({})\n", vm.name, vm.id)));
    }
    assert_eq!(front.get("three", "").await.status, 404);
    let crossed = format!("GET / HTTP/1.1\r\nhost: two.{DOMAIN}\r\n\r\n");
    assert_eq!(front.raw(&format!("one.{DOMAIN}"), crossed.as_bytes()).await.status, 421);
}

#[tokio::test]
async fn inv_12_a_name_is_never_answered_by_who_had_it_before() {
    let front = Front::start().await;
    for _ in 0..5 {
        let old = front.public("web").await;
        assert!(text(&front.get("web", "").await).contains(&old.id.to_string()));
        front.act(&old, VmAction::Stop(v1::StopVm::default())).await;
        assert_eq!(front.get("web", "").await.status, 503, "stopped");
        front.act(&old, VmAction::Rename(v1::RenameVm { name: "older".parse().unwrap() })).await;
        assert_eq!(front.get("web", "").await.status, 404, "renamed");
        let new = front.public("web").await;
        assert!(text(&front.get("web", "").await).contains(&new.id.to_string()));
        for vm in [&new, &old] {
            front.act(vm, VmAction::Destroy(v1::DestroyVm::default())).await;
        }
        assert_eq!(front.get("web", "").await.status, 404, "destroyed");
        assert_eq!(front.get("older", "").await.status, 404, "destroyed");
    }
}

#[tokio::test]
async fn a_vm_is_its_owners_alone_until_it_is_shared() {
    let front = Front::start().await;
    let vm = front.vm(new_vm("web")).await;
    let header = |of: u8| format!("x-minions-token: {}\r\n", token(of).expose());
    let bearer = format!("authorization: Bearer {}\r\n", token(1).expose());
    let status = async |headers: &str| front.get("web", headers).await.status;
    assert_eq!((status("").await, status(&header(9)).await, status(&header(2)).await), (401, 401, 403));
    assert_eq!((status(&header(1)).await, status(&bearer).await, status(&header(3)).await), (200, 200, 200));
    let share = |public, add: &[&str], remove: &[&str]| {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        VmAction::Share(v1::ShareVm { public, add: list(add), remove: list(remove) })
    };
    front.act(&vm, share(None, &["bob"], &[])).await;
    assert_eq!((status(&header(2)).await, status("").await), (200, 401));
    front.act(&vm, share(Some(true), &[], &["bob"])).await;
    assert_eq!((status(&header(2)).await, status("").await), (200, 200));
    front.act(&vm, share(Some(false), &[], &[])).await;
    assert_eq!((status(&header(2)).await, status("").await), (403, 401));
    front.people.0.lock().unwrap().clear();
    assert_eq!(status(&header(1)).await, 401, "a token that was taken back lets nobody in");
}

#[tokio::test]
async fn plain_http_only_leads_to_https() {
    let front = Front::start().await;
    let request = format!("GET /a?b=c HTTP/1.1\r\nhost: web.{DOMAIN}:80\r\nconnection: close\r\n\r\n");
    let reply = raw(front.plain, request.as_bytes()).await;
    assert_eq!(reply.status, 308);
    assert!(reply.head.contains(&format!("location: https://web.{DOMAIN}/a?b=c")), "{}", reply.head);
    assert_eq!(
        raw(front.plain, b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n").await.status,
        400
    );
}

#[tokio::test]
async fn ctl_4_5_a_connection_without_a_name_that_is_served_here_has_no_handshake() {
    let front = Front::start().await;
    assert!(front.tls("127.0.0.1", &[]).await.is_err());
    assert!(front.tls("elsewhere.test", &[]).await.is_err());
    assert!(front.tls(&format!("a.b.{DOMAIN}"), &[]).await.is_err());
    assert!(front.tls(CONTROL, &[]).await.is_ok());
}

#[tokio::test]
async fn curl_reaches_a_vm_over_both_versions_of_http() {
    let front = Front::start().await;
    let vm = front.public("web").await;
    for version in ["--http1.1", "--http2"] {
        let host = format!("web.{DOMAIN}:{}", front.address.port());
        let ca = front.dir.path().join("dev-ca.pem");
        let curl = tokio::task::spawn_blocking(move || {
            #[expect(clippy::disallowed_methods, reason = "a test runs a client")]
            std::process::Command::new("curl")
                .args(["-sS", "--max-time", "10", version, "--noproxy", "*", "--cacert"])
                .arg(ca)
                .args(["--resolve", &format!("{host}:127.0.0.1"), "-w", "%{http_version}", &format!("https://{host}/")])
                .stdin(std::process::Stdio::null())
                .output()
        });
        let curl = curl.await.unwrap();
        let Ok(output) = curl else {
            eprintln!("SKIP curl_reaches_a_vm_over_both_versions_of_http: there is no curl here");
            return;
        };
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{version}: {}", String::from_utf8_lossy(&output.stderr));
        let spoken = if version == "--http2" { "2" } else { "1.1" };
        assert!(told.contains(&format!("hello from web ({})", vm.id)) && told.ends_with(spoken), "{version}: {told}");
    }
}

#[tokio::test]
async fn a_proxy_that_ends_lets_go_of_who_waits() {
    let mut front = Front::start().await;
    front.public("web").await;
    let _idle = front.tls(&format!("web.{DOMAIN}"), &[b"http/1.1"]).await.unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(5), front.end()).await.expect("it ends");
}

fn location(reply: &Reply) -> String {
    let line = reply.head.lines().find_map(|line| line.strip_prefix("location: "));
    line.unwrap_or_else(|| panic!("leads nowhere: {reply:?}")).to_owned()
}

fn cookie(reply: &Reply) -> String {
    let line = reply.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie");
    for word in ["path=/", "secure", "httponly", "samesite=lax"] {
        assert!(line.contains(word), "{line}");
    }
    // The rig's heads are in lower case, and the name's own spelling is fixed.
    line.split(';').next().unwrap().replace("__host-minions", "__Host-minions")
}

/// Follows a way as a browser would: one step.
async fn step(front: &Front, to: &str, headers: &str) -> Reply {
    let rest = to.strip_prefix("https://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    front.ask(host, path, &format!("accept: text/html\r\n{headers}")).await
}

async fn log_in(front: &Front, query: &str, token: &str) -> Reply {
    let body = format!("token={token}");
    let text = format!(
        "POST /login?{query} HTTP/1.1\r\nhost: {CONTROL}\r\norigin: https://{CONTROL}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    front.raw(CONTROL, text.as_bytes()).await
}

#[tokio::test]
async fn ctl_4_7_people_log_in_once_and_each_vm_has_a_session_of_its_own() {
    let front = Front::start().await;
    for name in ["one", "two"] {
        front.vm(new_vm(name)).await;
    }
    let url = |name: &str| format!("https://{name}.{DOMAIN}/a?b=c");
    let to_login = location(&step(&front, &url("one"), "").await);
    assert!(to_login.starts_with(&format!("https://{CONTROL}/login?host=one.{DOMAIN}&path=/a%3fb%3dc")), "{to_login}");
    let page = step(&front, &to_login, "").await;
    assert!(page.status == 200 && text(&page).contains("<form"), "{page:?}");
    assert!(page.head.contains(&format!("form-action 'self' https://*.{DOMAIN};")), "{}", page.head);
    let query = to_login.split_once('?').unwrap().1;
    assert_eq!(log_in(&front, query, token(9).expose()).await.status, 403);
    let elsewhere =
        format!("POST /login HTTP/1.1\r\nhost: {CONTROL}\r\norigin: https://one.{DOMAIN}\r\nconnection: close\r\n\r\n");
    let refused = front.raw(CONTROL, elsewhere.as_bytes()).await;
    assert!(refused.status == 403 && text(&refused).contains("elsewhere"), "{refused:?}");
    let entered = log_in(&front, query, token(1).expose()).await;
    let control = cookie(&entered);
    let code = location(&entered);
    let handed = step(&front, &code, "").await;
    assert_eq!((handed.status, location(&handed)), (303, url("one")));
    assert_eq!(step(&front, &code, "").await.status, 403, "a code is good once");
    let one = format!("cookie: {}\r\n", cookie(&handed));
    assert_eq!(step(&front, &url("one"), &one).await.status, 200);
    assert_eq!(step(&front, &url("two"), &one).await.status, 303, "a session is for one name");
    assert_eq!(step(&front, &url("one"), &format!("cookie: {control}\r\n")).await.status, 303);
    // Who is logged in at the control pages is not asked again.
    let to_login = location(&step(&front, &url("two"), "").await);
    let handed = location(&step(&front, &to_login, &format!("cookie: {control}\r\n")).await);
    assert!(handed.starts_with(&format!("https://two.{DOMAIN}/.minions/auth?code=")), "{handed}");
    // Somebody else is told that it is not theirs.
    let bob = location(&log_in(&front, query, token(2).expose()).await);
    let bob = format!("cookie: {}\r\n", cookie(&step(&front, &bob, "").await));
    assert_eq!(step(&front, &url("one"), &bob).await.status, 403);
    front.people.0.lock().unwrap().clear();
    assert_eq!(step(&front, &url("one"), &one).await.status, 303, "a session ends with its token");
}

#[tokio::test]
async fn a_link_logs_in_once_and_a_code_goes_to_vms_only() {
    let front = Front::start().await;
    front.vm(new_vm("one")).await;
    let link = front.proxy.login_link(&print());
    let entered = step(&front, &format!("{link}&host=one.{DOMAIN}"), "").await;
    assert!(location(&entered).starts_with(&format!("https://one.{DOMAIN}/.minions/auth?code=")));
    assert_eq!(step(&front, &link, "").await.status, 403);
    for host in ["evil.example", CONTROL, DOMAIN, "one.box.test@evil", "a.one.box.test"] {
        let link = front.proxy.login_link(&print());
        let reply = step(&front, &format!("{link}&host={host}"), "").await;
        assert!(reply.status == 200 && !reply.head.contains("location:"), "{host}: {reply:?}");
    }
    // With the key goes what was opened by it, and what could have been.
    let (mine, late) = (front.proxy.login_link(&print()), front.proxy.login_link(&print()));
    let url = format!("https://one.{DOMAIN}/");
    let handed = location(&step(&front, &format!("{mine}&host=one.{DOMAIN}"), "").await);
    let session = format!("cookie: {}\r\n", cookie(&step(&front, &handed, "").await));
    assert_eq!(step(&front, &url, &session).await.status, 200);
    front.people.0.lock().unwrap().clear();
    assert_eq!(step(&front, &url, &session).await.status, 303);
    assert_eq!(step(&front, &late, "").await.status, 403);
}

#[tokio::test]
async fn ctl_4_5_a_connection_of_http_2_that_browsers_would_share_serves_one_name() {
    let front = Front::start().await;
    let (one, _) = (front.public("one").await, front.public("two").await);
    let stream = front.tls(&format!("one.{DOMAIN}"), &[b"h2"]).await.unwrap();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for (name, status) in [("one", 200), ("two", 421), ("one", 200)] {
        let request = hyper::Request::get(format!("https://{name}.{DOMAIN}/"));
        let answer =
            sender.send_request(request.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{name}");
        let body = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap().to_bytes();
        let told = String::from_utf8_lossy(&body).contains(&one.id.to_string());
        assert_eq!(told, name == "one");
    }
}
