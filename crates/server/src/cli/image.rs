//! `polydev image`: the golden images that sandboxes are made from.

use super::output::{self, CliError, Format};
use crate::{app, config::Config};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use polydev_sandbox::image::{Image, ImageError, ImageStore, Kind, Progress};
use std::time::Duration;

/// Build, check and list the golden images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Build an image; nothing happens when it is there and up to date.
    Build {
        /// cli, desktop, or all.
        #[arg(default_value = "all")]
        kind: String,
    },
    /// Prove that an image is whole and that its tools work.
    Verify {
        /// cli, desktop, or all.
        #[arg(default_value = "all")]
        kind: String,
    },
    /// List what is there.
    List,
    /// Remove what is no longer used.
    Prune,
}

/// Runs the command.
pub async fn run(command: ImageCommand, config: &Config, format: Format) -> Result<(), CliError> {
    let images = ImageStore::open(&config.image.dir);
    match command {
        ImageCommand::Build { kind } => build(&images, kinds(&kind)?, config, format).await,
        ImageCommand::Verify { kind } => verify(&images, kinds(&kind)?, config, format).await,
        ImageCommand::List => list(&images, format),
        ImageCommand::Prune => {
            let meter = Meter::new();
            let removed = images.prune(&mut |progress| meter.show(&progress)).await.map_err(told)?;
            meter.done();
            match format {
                Format::Text => output::note(format!("{} removed", count(removed.len()))),
                Format::Json | Format::StreamJson => output::json(&removed),
            }
            Ok(())
        }
    }
}

fn kinds(name: &str) -> Result<Vec<Kind>, CliError> {
    match name {
        "all" => Ok(Kind::ALL.to_vec()),
        name => Ok(vec![name.parse().map_err(CliError::usage)?]),
    }
}

async fn build(images: &ImageStore, kinds: Vec<Kind>, config: &Config, format: Format) -> Result<(), CliError> {
    // An image is proven before it takes the old one's place.
    let driver = app::proof_driver(config).await?;
    let mut built = Vec::new();
    for kind in kinds {
        let meter = Meter::new();
        let mut show = |progress| meter.show(&progress);
        let result = tokio::select! {
            result = images.build(kind, Some(&driver), &mut show) => result,
            _ = tokio::signal::ctrl_c() => {
                meter.done();
                return Err(CliError::new(output::exit::CTRL_C, "interrupted; the image that was there before is still in place"));
            }
        };
        meter.done();
        let image = result.map_err(told)?.image;
        if format == Format::Text {
            output::text(format!(
                "{} {}  {} MiB  {}",
                image.kind,
                &image.id[..16],
                image.size >> 20,
                image.path.display()
            ));
        }
        built.push(image);
    }
    if format != Format::Text {
        output::json(&built);
    }
    Ok(())
}

async fn verify(images: &ImageStore, kinds: Vec<Kind>, config: &Config, format: Format) -> Result<(), CliError> {
    let driver = app::proof_driver(config).await?;
    let mut all = true;
    for kind in kinds {
        let meter = Meter::new();
        let report = images.verify(kind, Some(&driver), &mut |progress| meter.show(&progress)).await;
        meter.done();
        let report = report.map_err(told)?;
        match format {
            Format::Text => report.checks.iter().for_each(output::text),
            Format::Json | Format::StreamJson => output::json(&report),
        }
        all &= report.passed();
    }
    if all {
        Ok(())
    } else {
        Err(CliError::failed("the image does not stand the proof")
            .hint("Build it anew: `polydev image prune`, then `polydev image build`."))
    }
}

fn list(images: &ImageStore, format: Format) -> Result<(), CliError> {
    let all = images.list().map_err(told)?;
    if format != Format::Text {
        output::json(&all);
        return Ok(());
    }
    let row = |image: &Image| {
        let tools =
            image.tools.iter().map(|(tool, version)| format!("{tool} {version}")).collect::<Vec<_>>().join(", ");
        let state = match (image.current, image.up_to_date) {
            (true, true) => "current",
            (true, false) => "current, out of date",
            (false, _) => "unused",
        };
        vec![
            image.kind.to_string(),
            image.id[..16].to_owned(),
            format!("{} MiB", image.size >> 20),
            state.to_owned(),
            tools,
            image.path.display().to_string(),
        ]
    };
    output::table(
        &["IMAGE", "ID", "SIZE", "STATE", "TOOLS", "FILE"],
        all.iter().map(row).collect(),
        "No images. Build them with: polydev image build",
    );
    Ok(())
}

fn count(images: usize) -> String {
    if images == 1 { "1 image".into() } else { format!("{images} images") }
}

fn told(error: ImageError) -> CliError {
    let hint = error.hint();
    let error = CliError::failed(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Shows a build's progress on standard error: a line a stage, and what it is at.
struct Meter(ProgressBar);

impl Meter {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {prefix:10} {elapsed:>4} {wide_msg}")
                .expect("the template is right"),
        );
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(bar)
    }

    fn show(&self, progress: &Progress) {
        match progress {
            Progress::Waiting => self.line("another process builds here; waiting for it"),
            Progress::Started(stage) => {
                self.0.set_prefix(stage.to_string());
                self.0.set_message("");
                self.0.reset_elapsed();
                if self.0.is_hidden() {
                    output::note(format!("{stage} …"));
                }
            }
            Progress::Line(_, line) => self.0.set_message(line.chars().filter(|c| !c.is_control()).collect::<String>()),
            Progress::Finished(stage, took) => self.line(&format!("{stage:10} {:>6.1} s", took.as_secs_f64())),
        }
    }

    fn line(&self, line: &str) {
        if self.0.is_hidden() { output::note(line) } else { self.0.println(line) }
    }

    fn done(&self) {
        self.0.finish_and_clear();
    }
}
