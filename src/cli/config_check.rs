//! `topichub check` and `topichub config`: what a configuration would do, without doing it.

use std::path::Path;

use super::Failure;
use super::args::ConfigArgs;
use super::config::Config;
use super::config_error::{ConfigError, Mistake};
use super::config_print::{changed, effective, example};
use super::config_sources::{Layers, Merged};

/// `topichub check`.
pub(super) fn check(path: &Path) -> Result<(), Failure> {
    read(Some(path), |merged, config| {
        for doubt in config.doubts() {
            eprintln!("warning: {doubt}");
        }
        println!("{}: ok", path.display());
        for line in plan(merged, config) {
            println!("  {line}");
        }
    })
}

/// `topichub config`.
pub(super) fn show(args: &ConfigArgs) -> Result<(), Failure> {
    if args.default {
        print!("{}", example());
        return Ok(());
    }
    read(args.config.as_deref(), |merged, _| print!("{}", effective(merged)))
}

fn read(path: Option<&Path>, then: impl FnOnce(&Merged<'_>, &Config)) -> Result<(), Failure> {
    let sources = Layers::of_process(path).read().map_err(ConfigError::into_failure)?;
    let sound = || {
        let merged = sources.merge()?;
        let config = merged.config()?;
        Ok((merged, config))
    };
    let (merged, config) =
        sound().map_err(|mistake: Box<Mistake>| ConfigError::from(mistake).into_failure())?;
    for warning in &sources.warnings {
        eprintln!("warning: {warning}");
    }
    then(&merged, &config);
    Ok(())
}

/// What a server would do by it.
fn plan(merged: &Merged<'_>, config: &Config) -> Vec<String> {
    let Config { server, topics, tls, auth, .. } = config;
    let workers = match server.workers {
        None => "one worker for each core".to_owned(),
        Some(1) => "1 worker".to_owned(),
        Some(workers) => format!("{workers} workers"),
    };
    let mut plan = vec![format!("listens on {} with {workers}", server.listen)];
    if let Some(address) = &server.admin_listen {
        plan.push(format!("shows its health and metrics on {address}"));
    }
    if let Some(tls) = tls {
        plan.push(format!("speaks TLS with the certificate in {}", tls.certificate.display()));
    }
    if let Some(auth) = auth {
        let (keys, roles, api_keys) = (auth.keys.len(), auth.roles.len(), auth.api_keys.len());
        plan.push(format!("asks who somebody is; keys: {keys}, roles: {roles}, API keys: {api_keys}"));
    }
    if !topics.is_empty() {
        let patterns: Vec<_> = topics.iter().map(|rule| rule.pattern.as_str()).collect();
        plan.push(format!("has rules for {}", patterns.join(", ")));
    }
    let limits = changed(merged, "limits");
    plan.push(
        if limits.is_empty() { "has all limits at their defaults" } else { "changes limits:" }.to_owned(),
    );
    plan.extend(limits.into_iter().map(|limit| format!("  {limit}")));
    plan
}
