//! What `lvs` says, as JSON.

use serde::Deserialize;

use crate::types::ByteSize;

/// The fields that are asked for, in the order of [`RawVolume`].
pub(super) const FIELDS: &str = "lv_name,lv_size,lv_tags,pool_lv,segtype,lv_active_locally,lv_device_open,\
    lv_permissions,lv_health_status,lv_check_needed,data_percent,metadata_percent,lv_metadata_size,zero,lv_when_full,\
    discards,seg_monitor,vg_extent_size,vg_free";

/// Why a report is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// It is no JSON of the form that was asked for.
    #[error("lvs answered something unexpected: {0}")]
    Form(String),
    /// A field has a value that makes no sense.
    #[error("lvs says of {volume} that {field} is {value:?}")]
    Value {
        /// The volume.
        volume: String,
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// Two volumes of one name.
    #[error("lvs names {0} twice")]
    Twice(String),
}

/// How full something is, in hundredths of a percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fill(u32);

impl Fill {
    /// From whole percents.
    #[must_use]
    pub const fn percent(percent: u32) -> Self {
        Self(percent * 100)
    }

    /// That part of a size, rounded up.
    #[must_use]
    pub fn of(self, size: ByteSize) -> ByteSize {
        let bytes = (u128::from(size.get()) * u128::from(self.0)).div_ceil(10_000);
        ByteSize::bytes(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

impl std::fmt::Display for Fill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02} %", self.0 / 100, self.0 % 100)
    }
}

/// One logical volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalVolume {
    /// Its name.
    pub name: String,
    /// Its bytes; virtual ones for a thin volume.
    pub size: ByteSize,
    /// What it is labelled with.
    pub tags: Vec<String>,
    /// The pool it lies in; empty for what lies in none.
    pub pool: String,
    /// What it is made of, such as `thin`.
    pub kind: String,
    /// Whether its device is there.
    pub active: bool,
    /// Whether a process or another device has it open.
    pub open: bool,
    /// Whether nobody can write it.
    pub read_only: bool,
    /// What ails it; empty while it is well.
    pub health: String,
    /// Whether its metadata must be checked before it works again.
    pub check_needed: bool,
    /// How full its data is, where it is active.
    pub data: Option<Fill>,
    /// How full a pool's metadata is, where it is active.
    pub metadata: Option<Fill>,
    /// Bytes of a pool's metadata.
    pub metadata_size: ByteSize,
    /// Whether a pool gives out blocks of zeros only.
    pub zero: bool,
    /// What a pool does when it is full: `error` or `queue`.
    pub when_full: String,
    /// What a pool does with discards: `passdown`, `nopassdown` or `ignore`.
    pub discards: String,
    /// Whether somebody watches a pool fill up.
    pub monitored: bool,
}

/// Everything in a volume group, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The logical volumes, foreign ones too, in no order.
    pub volumes: Vec<LogicalVolume>,
    /// In what steps sizes grow; zero where there is no volume.
    pub extent: ByteSize,
    /// What no volume has yet.
    pub free: ByteSize,
}

#[derive(Deserialize)]
struct Document<T> {
    #[serde(bound(deserialize = "T: Deserialize<'de>"))]
    report: Vec<T>,
}

#[derive(Deserialize)]
struct Section {
    lv: Vec<RawVolume>,
}

#[derive(Deserialize)]
struct RawVolume {
    lv_name: String,
    lv_size: String,
    lv_tags: String,
    pool_lv: String,
    segtype: String,
    lv_active_locally: String,
    lv_device_open: String,
    lv_permissions: String,
    lv_health_status: String,
    lv_check_needed: String,
    data_percent: String,
    metadata_percent: String,
    lv_metadata_size: String,
    zero: String,
    lv_when_full: String,
    discards: String,
    seg_monitor: String,
    vg_extent_size: String,
    vg_free: String,
}

impl Report {
    /// Reads one that was made with `--reportformat json --units b --nosuffix --binary` and our fields.
    ///
    /// # Errors
    /// Anything that is not exactly that.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReportError> {
        let form = |error: serde_json::Error| ReportError::Form(error.to_string().chars().take(200).collect());
        let document: Document<Section> = serde_json::from_slice(bytes).map_err(form)?;
        let [section] = <[Section; 1]>::try_from(document.report)
            .map_err(|sections| ReportError::Form(format!("{} reports, not one", sections.len())))?;
        let mut report = Self::default();
        let mut names = std::collections::HashSet::new();
        for raw in section.lv {
            let extent = size(&raw, "vg_extent_size", &raw.vg_extent_size)?;
            if extent == ByteSize::default() {
                return Err(wrong(&raw, "vg_extent_size", &raw.vg_extent_size));
            }
            (report.extent, report.free) = (extent, size(&raw, "vg_free", &raw.vg_free)?);
            if raw.lv_name.is_empty() {
                return Err(wrong(&raw, "lv_name", &raw.lv_name));
            }
            // A foreign volume has a row for each of its segments; a thin one has one.
            if !names.insert(raw.lv_name.clone()) {
                match raw.segtype.starts_with("thin") {
                    true => return Err(ReportError::Twice(raw.lv_name)),
                    false => continue,
                }
            }
            report.volumes.push(volume(raw)?);
        }
        Ok(report)
    }

    /// The volume of a name.
    #[must_use]
    pub fn volume(&self, name: &str) -> Option<&LogicalVolume> {
        self.volumes.iter().find(|volume| volume.name == name)
    }
}

fn volume(raw: RawVolume) -> Result<LogicalVolume, ReportError> {
    let read_only = match raw.lv_permissions.as_str() {
        "writeable" => false,
        "read-only" | "read-only-override" => true,
        // Nobody can tell of what is not active, or of a foreign one of a kind that we do not know.
        "" | "unknown" => false,
        _ => return Err(wrong(&raw, "lv_permissions", &raw.lv_permissions)),
    };
    Ok(LogicalVolume {
        size: size(&raw, "lv_size", &raw.lv_size)?,
        active: flag(&raw, "lv_active_locally", &raw.lv_active_locally)?,
        open: flag(&raw, "lv_device_open", &raw.lv_device_open)?,
        read_only,
        check_needed: flag(&raw, "lv_check_needed", &raw.lv_check_needed)?,
        data: fill(&raw, "data_percent", &raw.data_percent)?,
        metadata: fill(&raw, "metadata_percent", &raw.metadata_percent)?,
        metadata_size: match raw.lv_metadata_size.as_str() {
            "" => ByteSize::default(),
            text => size(&raw, "lv_metadata_size", text)?,
        },
        zero: flag(&raw, "zero", &raw.zero)?,
        monitored: raw.seg_monitor == "monitored",
        tags: raw.lv_tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
        name: raw.lv_name,
        pool: raw.pool_lv,
        kind: raw.segtype,
        health: raw.lv_health_status,
        when_full: raw.lv_when_full,
        discards: raw.discards,
    })
}

fn wrong(raw: &RawVolume, field: &'static str, value: &str) -> ReportError {
    let cut = |text: &str| text.chars().take(80).collect();
    ReportError::Value { volume: cut(&raw.lv_name), field, value: cut(value) }
}

fn size(raw: &RawVolume, field: &'static str, text: &str) -> Result<ByteSize, ReportError> {
    text.parse().map(ByteSize::bytes).map_err(|_| wrong(raw, field, text))
}

/// `1` is yes; `0`, `-1` (not known) and nothing at all are no.
fn flag(raw: &RawVolume, field: &'static str, text: &str) -> Result<bool, ReportError> {
    match text {
        "1" => Ok(true),
        "0" | "-1" | "" => Ok(false),
        _ => Err(wrong(raw, field, text)),
    }
}

/// `12.34` and nothing at all; also `100` without a fraction.
fn fill(raw: &RawVolume, field: &'static str, text: &str) -> Result<Option<Fill>, ReportError> {
    if text.is_empty() || text == "-1" {
        return Ok(None);
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, "00"));
    let hundredths = match (whole.parse::<u32>(), part.parse::<u32>()) {
        (Ok(whole @ 0..=100), Ok(part)) if part < 100 && text.is_ascii() && part_len(text) => whole * 100 + part,
        _ => return Err(wrong(raw, field, text)),
    };
    Ok(Some(Fill(hundredths)))
}

/// Two digits behind the point, or no point.
fn part_len(text: &str) -> bool {
    text.split_once('.').is_none_or(|(_, part)| part.len() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As lvm2 2.03.16 says it.
    const REPORT: &str = r#"
  {
      "report": [
          {
              "lv": [
                  {"lv_name":"pool", "lv_size":"8589934592", "lv_tags":"", "pool_lv":"", "segtype":"thin-pool", "lv_active_locally":"1", "lv_device_open":"0", "lv_permissions":"writeable", "lv_health_status":"", "lv_check_needed":"0", "data_percent":"1.50", "metadata_percent":"10.25", "lv_metadata_size":"33554432", "zero":"1", "lv_when_full":"error", "discards":"passdown", "seg_monitor":"monitored", "vg_extent_size":"4194304", "vg_free":"1073741824"},
                  {"lv_name":"vm_1.root", "lv_size":"67108864", "lv_tags":"minions,minions.id=vm_1.root", "pool_lv":"pool", "segtype":"thin", "lv_active_locally":"1", "lv_device_open":"1", "lv_permissions":"writeable", "lv_health_status":"", "lv_check_needed":"-1", "data_percent":"100.00", "metadata_percent":"", "lv_metadata_size":"", "zero":"-1", "lv_when_full":"", "discards":"", "seg_monitor":"", "vg_extent_size":"4194304", "vg_free":"1073741824"}
              ]
          }
      ]
  }"#;

    #[test]
    fn a_report_is_read_as_lvm2_writes_it() {
        let report = Report::parse(REPORT.as_bytes()).unwrap();
        assert_eq!((report.extent, report.free), (ByteSize::mib(4), ByteSize::gib(1)));
        let pool = report.volume("pool").unwrap();
        assert!(pool.zero && pool.active && pool.monitored && !pool.open && !pool.check_needed, "{pool:?}");
        assert_eq!((pool.data.unwrap().to_string(), pool.metadata), ("1.50 %".to_owned(), Some(Fill(1025))));
        let root = report.volume("vm_1.root").unwrap();
        assert_eq!(root.tags, ["minions", "minions.id=vm_1.root"]);
        assert!(root.open && root.pool == "pool" && root.data == Some(Fill::percent(100)));
        assert_eq!(Report::parse(br#"{"report":[{"lv":[]}]}"#).unwrap(), Report::default());
    }

    #[test]
    fn bad_27_garbage_is_refused_and_never_read_as_an_empty_group() {
        let changed = |from: &str, to: &str| {
            assert!(REPORT.contains(from), "{from}");
            REPORT.replacen(from, to, 1)
        };
        let cases = [
            String::new(),
            "{}".to_owned(),
            "[]".to_owned(),
            "null".to_owned(),
            r#"{"report":[]}"#.to_owned(),
            r#"{"report":[{}]}"#.to_owned(),
            r#"{"report":[{"lv":[]},{"lv":[]}]}"#.to_owned(),
            r#"{"report":[{"lv":[{"lv_name":"x"}]}]}"#.to_owned(),
            "  LV   VG   Attr\n  pool minions twi-aotz--\n".to_owned(),
            "  Die Datentr\u{e4}gergruppe \u{bb}minions\u{ab} wurde nicht gefunden\n".to_owned(),
            REPORT[..REPORT.len() / 2].to_owned(),
            format!("{REPORT}{REPORT}"),
            changed("\"8589934592\"", "\"8,00g\""),
            changed("\"8589934592\"", "8589934592"),
            changed("\"8589934592\"", "\"-1\""),
            changed("\"1.50\"", "\"1,50\""),
            changed("\"1.50\"", "\"101.00\""),
            changed("\"1.50\"", "\"1.5\""),
            changed("\"lv_active_locally\":\"1\"", "\"lv_active_locally\":\"active\""),
            changed("\"lv_device_open\":\"1\"", "\"lv_device_open\":\"ja\""),
            changed("\"vg_extent_size\":\"4194304\"", "\"vg_extent_size\":\"0\""),
            changed("\"lv_name\":\"vm_1.root\"", "\"lv_name\":\"\""),
            changed("\"writeable\"", "\"schreibbar\""),
            changed("\"vm_1.root\", \"lv_size\"", "\"pool\", \"lv_size\""),
        ];
        for case in cases {
            let error = Report::parse(case.as_bytes()).expect_err(&case).to_string();
            assert!(error.len() < 600, "{error}");
        }
        Report::parse(&[0xff, 0xfe, 0]).unwrap_err();
    }

    #[test]
    fn a_foreign_volume_of_many_segments_is_there_once() {
        let twice = REPORT
            .replace("\"segtype\":\"thin\"", "\"segtype\":\"linear\"")
            .replace("\"vm_1.root\", \"lv_size\"", "\"home\", \"lv_size\"");
        let row = twice.lines().find(|line| line.contains("\"home\"")).unwrap().to_owned();
        let twice = twice.replace(&row, &format!("{row},{row}"));
        assert_eq!(Report::parse(twice.as_bytes()).unwrap().volumes.len(), 2);
    }
}
