//! Users of the guest, as its files tell. No library of the guest is asked: the agent is static.

use crate::error::{Error, Result};

/// Who runs a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::agent) struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub home: String,
    pub shell: String,
}

/// Finds `name`, `uid`, `name:group` or `uid:gid`. Numbers need not be listed; names must.
pub(in crate::agent) fn find(wanted: &str) -> Result<User> {
    // An image without these files has only numbers, and root.
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = std::fs::read_to_string("/etc/group").unwrap_or_default();
    find_in(wanted, &passwd, &group)
}

fn find_in(wanted: &str, passwd: &str, group: &str) -> Result<User> {
    let (name, wanted_group) = match wanted.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (wanted, None),
    };
    let number: Option<u32> = name.parse().ok();
    let listed = passwd.lines().filter_map(entry).find(|user| user.name == name || Some(user.uid) == number);
    let mut user = match (listed, number) {
        (Some(user), _) => user,
        (None, Some(uid)) => {
            let home = if uid == 0 { "/root" } else { "/" };
            User { name: uid.to_string(), uid, gid: uid, home: home.to_owned(), shell: "/bin/sh".to_owned() }
        }
        (None, None) if name == "root" => {
            User { name: name.to_owned(), uid: 0, gid: 0, home: "/root".to_owned(), shell: "/bin/sh".to_owned() }
        }
        (None, None) => return Err(Error::invalid("user", format!("the guest has no user {name}"))),
    };
    if let Some(wanted) = wanted_group {
        user.gid = match wanted.parse() {
            Ok(gid) => gid,
            Err(_) => gid_of(wanted, group)
                .ok_or_else(|| Error::invalid("user", format!("the guest has no group {wanted}")))?,
        };
    }
    Ok(user)
}

fn entry(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next()?.to_owned();
    let _password = fields.next()?;
    let uid = fields.next()?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let _comment = fields.next()?;
    let text = |field: Option<&str>, other: &str| field.filter(|text| !text.is_empty()).unwrap_or(other).to_owned();
    Some(User { name, uid, gid, home: text(fields.next(), "/"), shell: text(fields.next(), "/bin/sh") })
}

fn gid_of(name: &str, group: &str) -> Option<u32> {
    group.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nbroken\nweb:x:1000:1001:Web,,,:/srv/web:\n";
    const GROUP: &str = "root:x:0:\nwww-data:x:33:web\n";

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let web = find_in("web", PASSWD, GROUP).unwrap();
        assert_eq!((web.uid, web.gid, web.home.as_str(), web.shell.as_str()), (1000, 1001, "/srv/web", "/bin/sh"));
        assert_eq!(find_in("1000", PASSWD, GROUP).unwrap(), web);
        assert_eq!(find_in("root", "", "").unwrap().uid, 0);
    }

    #[test]
    fn a_group_can_be_named_and_unknown_names_are_refused() {
        assert_eq!(find_in("web:www-data", PASSWD, GROUP).unwrap().gid, 33);
        assert_eq!(find_in("7:8", PASSWD, GROUP).unwrap().gid, 8);
        assert!(find_in("nobody", PASSWD, GROUP).is_err());
        assert!(find_in("web:nogroup", PASSWD, GROUP).is_err());
    }
}
