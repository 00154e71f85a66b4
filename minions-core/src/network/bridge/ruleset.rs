//! The firewall's table as text: loaded at the start, and again when somebody took it away.

use std::fmt::Write as _;
use std::time::Duration;

use super::config::BridgeConfig;
use super::elements::TABLE;
use super::error::BridgeError;
use crate::host::command::Tool;
use crate::types::names;

/// Longer than a busy host takes for a page of rules.
const LIMIT: Duration = Duration::from_secs(20);
/// What is nobody's business of a guest's, unless the operator opens it: private, shared, special.
const CLOSED: [&str; 9] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
];

/// Loads the table in one transaction. The ports' elements stay.
pub(super) async fn load(config: &BridgeConfig) -> Result<(), BridgeError> {
    let tool = Tool::new(&config.nft).args(["-f", "-"]).limit(LIMIT).cap(64 << 10);
    tool.run_with(text(config)?.as_bytes()).await.map(|_| ()).map_err(BridgeError::Load)
}

/// The rules of both families. Sets are declared before they are emptied, so that it works with and without a table
/// from before; those of the ports are never emptied.
pub(super) fn text(config: &BridgeConfig) -> Result<String, BridgeError> {
    let (mut bridges, mut subnets) = (Vec::new(), Vec::new());
    for shard in 0..config.shards {
        bridges.push(format!("\"{}\"", config.bridge(shard)));
        subnets.push(config.subnet_of(shard)?.to_string());
    }
    let resolvers: Vec<String> = config.resolvers.iter().map(ToString::to_string).collect();
    let open: Vec<String> = super::config::merged(&config.open).iter().map(ToString::to_string).collect();
    let (table, prefix, flows) = (TABLE, names::PREFIX, config.flows);
    let mut text = format!(
        r#"add table bridge {table}
flush table bridge {table}
add table inet {table}
flush table inet {table}
table bridge {table} {{
  set ports {{ type ifname; }}
  set mac {{ type ifname . ether_addr; }}
  set ip4 {{ type ifname . ether_addr . ipv4_addr; }}
  set rate_up {{ type ifname; limit rate over 1 bytes/second burst 1 bytes; }}
  set rate_down {{ type ifname; limit rate over 1 bytes/second burst 1 bytes; }}
  counter no_port {{ }}
  counter spoofed_mac {{ }}
  counter spoofed_arp {{ }}
  counter spoofed_ip {{ }}
  counter other_protocol {{ }}
  counter sideways {{ }}
  counter too_fast {{ }}
}}
table inet {table} {{
  set bridges {{ type ifname; }}
  set subnets {{ type ipv4_addr; flags interval; }}
  set resolvers {{ type ipv4_addr; }}
  set closed {{ type ipv4_addr; flags interval; }}
  set open {{ type ipv4_addr; flags interval; }}
  set only {{ type ipv4_addr; }}
  set allow {{ type ipv4_addr . ipv4_addr; flags interval; }}
  set flows {{ type ipv4_addr; flags dynamic; size 65536; }}
  counter to_host {{ }}
  counter no_ipv4 {{ }}
  counter hairpin {{ }}
  counter unasked {{ }}
  counter not_listed {{ }}
  counter closed_range {{ }}
  counter mail {{ }}
  counter too_many {{ }}
}}
flush set inet {table} bridges
flush set inet {table} subnets
flush set inet {table} resolvers
flush set inet {table} closed
flush set inet {table} open
"#
    );
    let closed = CLOSED.map(str::to_owned).to_vec();
    let fixed =
        [("bridges", bridges), ("subnets", subnets), ("resolvers", resolvers), ("closed", closed), ("open", open)];
    for (set, elements) in fixed.iter().filter(|(_, elements)| !elements.is_empty()) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "add element inet {table} {set} {{ {} }}", elements.join(", "));
    }
    // Nothing may come before the pin, and no packet is accepted before it was looked at. Whatever a guest may reach at
    // all counts as its connection, resolvers included.
    let _ = write!(
        text,
        r#"table bridge {table} {{
  chain pin {{
    iifname != @ports counter name no_port drop
    iifname . ether saddr != @mac counter name spoofed_mac drop
    ether type arp iifname . arp saddr ether . arp saddr ip != @ip4 counter name spoofed_arp drop
    ether type ip iifname . ether saddr . ip saddr != @ip4 counter name spoofed_ip drop
    ether type != {{ ip, arp }} counter name other_protocol drop
    iifname @rate_up counter name too_fast drop
  }}
  chain prerouting {{
    type filter hook prerouting priority -300; policy accept;
    iifname "{prefix}*" jump pin
  }}
  chain forward {{
    type filter hook forward priority -300; policy accept;
    iifname "{prefix}*" counter name sideways drop
    oifname "{prefix}*" counter name sideways drop
  }}
  chain postrouting {{
    type filter hook postrouting priority -300; policy accept;
    oifname @rate_down counter name too_fast drop
  }}
}}
table inet {table} {{
  chain counted {{
    ct state new add @flows {{ ip saddr ct count over {flows} }} counter name too_many drop
  }}
  chain egress {{
    ip saddr @only ip saddr . ip daddr != @allow counter name not_listed drop
    ip daddr @resolvers meta l4proto {{ tcp, udp }} th dport 53 goto counted
    ip daddr @closed ip daddr != @open counter name closed_range drop
    tcp dport 25 counter name mail drop
    goto counted
  }}
  chain input {{
    type filter hook input priority -10; policy accept;
    iifname @bridges meta nfproto != ipv4 counter name no_ipv4 drop
    iifname @bridges ct state established,related accept
    iifname @bridges counter name to_host drop
  }}
  chain forward {{
    type filter hook forward priority -10; policy accept;
    iifname @bridges meta nfproto != ipv4 counter name no_ipv4 drop
    oifname @bridges meta nfproto != ipv4 counter name no_ipv4 drop
    iifname @bridges oifname @bridges counter name hairpin drop
    iifname @bridges goto egress
    oifname @bridges ct state established,related accept
    oifname @bridges counter name unasked drop
  }}
  chain output {{
    type filter hook output priority -10; policy accept;
    oifname @bridges meta nfproto != ipv4 counter name no_ipv4 drop
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr @subnets oifname != @bridges masquerade
  }}
}}
"#
    );
    Ok(text)
}
