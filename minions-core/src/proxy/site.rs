//! Which name a request is for.

use crate::types::VmName;

/// What a host name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// The service's own pages: login.
    Control,
    /// A VM, if there is one of this name.
    Vm(VmName),
    /// Nothing here.
    Unknown,
}

/// The names that the proxy answers for. Lower case, without a dot at the end.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub domain: String,
    pub control: String,
    /// Where browsers find the proxy.
    pub port: u16,
}

impl Names {
    /// The beginning of an address: a host, and the port where that is not what everybody takes.
    pub fn origin(&self, host: &str) -> String {
        if self.port == 443 { format!("https://{host}") } else { format!("https://{host}:{}", self.port) }
    }

    pub fn site(&self, host: &str) -> Site {
        if host == self.control {
            return Site::Control;
        }
        let label = host.strip_suffix(self.domain.as_str()).and_then(|rest| rest.strip_suffix('.'));
        label.and_then(|label| label.parse().ok()).map_or(Site::Unknown, Site::Vm)
    }
}

/// The host of an authority `host[:port]`, in lower case; `None` for anything else: no user, no address, no dot at the end,
/// nothing but letters, digits and hyphens between dots.
pub(super) fn host(authority: &str) -> Option<String> {
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    if let Some(port) = port {
        let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || !port.parse::<u16>().is_ok_and(|port| port != 0) {
            return None;
        }
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // What is all digits at its end is an address, however it is written.
    let numeric = host.rsplit('.').next().is_none_or(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    (host.len() <= 253 && !numeric && host.split('.').all(label)).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_17_a_host_is_letters_digits_and_hyphens_with_at_most_a_port() {
        for (text, host_is) in [
            ("web.example", Some("web.example")),
            ("WEB.Example:443", Some("web.example")),
            ("a:1", Some("a")),
            ("web.example.", None),
            ("web.example:", None),
            ("web.example:0", None),
            ("web.example:65536", None),
            ("web.example:+443", None),
            ("user@web.example", None),
            ("web.example:80@evil", None),
            ("[::1]", None),
            ("[::1]:443", None),
            ("127.0.0.1", None),
            ("web%2eexample", None),
            ("we_b.example", None),
            ("-web.example", None),
            ("web-.example", None),
            ("web..example", None),
            (".example", None),
            ("", None),
            (" web.example", None),
            ("web.example/", None),
            ("w\u{e9}b.example", None),
        ] {
            assert_eq!(host(text).as_deref(), host_is, "{text:?}");
        }
        assert_eq!(host(&format!("{}.example", "a".repeat(64))), None);
        assert_eq!(host(&["a"; 128].join(".")), None);
    }

    #[test]
    fn a_name_leads_to_the_control_pages_or_to_one_vm_or_nowhere() {
        let names = Names { domain: "box.example".into(), control: "minions.box.example".into(), port: 8443 };
        assert_eq!(names.origin("a.example"), "https://a.example:8443");
        assert_eq!(names.site("web.box.example"), Site::Vm("web".parse().unwrap()));
        assert_eq!(names.site("minions.box.example"), Site::Control);
        for host in
            ["box.example", "a.web.box.example", "webbox.example", "example", "web.box.example.evil", "1.box.example"]
        {
            assert_eq!(names.site(host), Site::Unknown, "{host}");
        }
    }
}
