//! `minions create`.

use std::process::ExitCode;
use std::time::Duration;

use minions_core::api::v1::CreateVm;
use minions_core::types::{ByteSize, Vcpus};
use tokio::time::Instant;

use crate::cli::Create;
use crate::client::Client;
use crate::output::{Outcome, Output, spell};
use crate::sink::Sink;

pub async fn run(client: &Client, output: &Output, args: Create) -> Outcome {
    let start = Instant::now();
    let name = args.name.clone();
    let request = CreateVm {
        name: args.name,
        image: args.image,
        cpus: args.cpus.map(Vcpus),
        memory: args.memory,
        disk: args.disk,
        data_disk: if args.no_data_disk { Some(ByteSize::default()) } else { args.data_disk },
        data_from: args.data_from,
        egress: args.egress,
        rate: args.rate,
        owner: args.owner.map(|owner| owner.to_string()),
        public: args.public,
        port: args.port,
    };
    let operation = client.create(&request).await?;
    if super::finish(client, output, "creating", &name, operation, args.waiting).await?.is_some() {
        let took: Duration = start.elapsed();
        let enter = match output.to {
            Sink::Process => format!("minions exec {name} -- uname -a"),
            Sink::Sheet(_) => format!("ssh {name}@HOST"),
        };
        output.note(&format!("{name} runs after {}; try: {enter}", spell(took)));
    }
    Ok(ExitCode::SUCCESS)
}
