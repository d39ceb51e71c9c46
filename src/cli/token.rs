//! `topichub token`: makes tokens and API keys as a login system would, and says what the server thinks of one.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value, json};
use topichub::auth::{self, Auth, AuthError, AuthSettings, IssueError, Issuer, TokenPlan};
use topichub::protocol::command::TOKEN_BYTES_MAX;
use topichub::{Action, Authority, Identity};

use super::config_error::ConfigError;
use super::config_sources::Layers;
use super::{Exit, Failure};

pub(crate) const TOKEN_HELP: &str = "\
The token is the one line on standard output. It is signed with the first secret in [[auth.keys]]
of --config, or with --key-file: a secret, or a private key in PEM (PKCS#8) of which the server has
the public one.

Examples:
  topichub token --config topichub.toml --user ada --subscribe 'chat.>' --publish 'chat.{user}'
      For an hour: to watch all of chat, and to publish to chat.ada
  topichub token --config topichub.toml --user ada --role editor --expires 15m
      What the role editor may do
  topichub token --key-file private.pem --algorithm ES256 --key-id 2026-11 --user ada
      Signed as a login system would
  topichub token --api-key shop --role publisher
      A key for a back end, and the lines for the configuration, which hold its hash only
  topichub token inspect --config topichub.toml eyJhbGciOi…
      What is in a token, what its bearer may do, and why it is (not) valid
  pbpaste | topichub token inspect -
      The same from standard input; without --config it is not verified

Exit codes: 0 done, 1 not valid or no key, 2 wrong usage.";

const INSPECT_HELP: &str = "\
Examples:
  topichub token inspect --config topichub.toml eyJhbGciOi…
      Header, claims, permissions; keys at a jwks_url are fetched
  topichub token inspect - < token.txt
      From standard input, not verified

Exit codes: 0 valid, or not verified; 1 not valid; 2 wrong usage.";

/// An hour: long enough to try something out, short enough to be forgotten.
const EXPIRES: &str = "1h";

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: Option<TokenCommand>,
    #[command(flatten)]
    make: MakeArgs,
}

#[derive(Debug, clap::Subcommand)]
enum TokenCommand {
    /// Say what is in a token or API key, and whether it is valid
    #[command(after_help = INSPECT_HELP)]
    Inspect(InspectArgs),
}

#[derive(Debug, clap::Args)]
struct InspectArgs {
    /// The token or API key; `-` is standard input
    #[arg(value_name = "TOKEN", allow_hyphen_values = true)]
    token: String,
    /// The configuration by which it is judged; without it only what it says is shown
    #[arg(long, value_name = "FILE", env = "TOPICHUB_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct MakeArgs {
    /// The configuration whose key signs, and whose issuer, audience and names of claims are used
    #[arg(long, value_name = "FILE", env = "TOPICHUB_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// A file with the secret or private key that signs
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// What the key file is for [default: HS256]
    #[arg(long, value_name = "NAME", requires = "key_file", value_parser = PossibleValuesParser::new(auth::algorithm_names()))]
    algorithm: Option<String>,
    /// The key's id: says in the token which one signed, and chooses among those of --config
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// The user's name
    #[arg(long, value_name = "NAME", value_parser = super::options::parse_name)]
    user: Option<Box<str>>,
    /// A role of [[auth.roles]]; may be said several times, as may the patterns
    #[arg(long, value_name = "NAME")]
    role: Vec<String>,
    /// What may be subscribed to; {user} stands for the name
    #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
    subscribe: Vec<String>,
    /// What may be published to
    #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
    publish: Vec<String>,
    /// Where it may be seen who is there [default: as --subscribe]
    #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
    presence: Vec<String>,
    /// Of what the history may be seen [default: as --subscribe]
    #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
    history: Vec<String>,
    /// What others see beside the name, as JSON
    #[arg(long, value_name = "JSON", value_parser = parse_json)]
    data: Option<Value>,
    /// How long it holds, such as 15m; 0s for a token without an end
    #[arg(long, value_name = "TIME", default_value = EXPIRES, value_parser = humantime::parse_duration)]
    expires: Duration,
    /// What it can be revoked by (jti)
    #[arg(long, value_name = "ID")]
    token_id: Option<String>,
    /// Who issues it (iss) [default: as in --config]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// For whom it is (aud) [default: as in --config]
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
    /// Make an API key of this name for a back end, in place of a token
    #[arg(
        long,
        value_name = "NAME",
        value_parser = super::options::parse_name,
        conflicts_with_all = ["key_file", "key_id", "user", "subscribe", "publish", "presence", "history", "data", "token_id", "issuer", "audience"]
    )]
    api_key: Option<Box<str>>,
}

/// There is no token.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("nothing to sign with")]
    NoKey,
    #[error("{} has no [auth] table", .0.display())]
    NoAuth(PathBuf),
    #[error("cannot read the key file {}", path.display())]
    KeyFile { path: PathBuf, source: io::Error },
    #[error("cannot read standard input")]
    Input(#[source] io::Error),
    #[error("neither a token nor an API key: {0}")]
    NoToken(&'static str),
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Auth(#[from] AuthError),
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        let (exit, advice) = match &error {
            TokenError::NoKey => (Exit::Usage, Some("say --config FILE or --key-file FILE")),
            TokenError::Issue(IssueError::NoSecret { .. }) => {
                (Exit::Refused, Some("the private key is with who issues tokens: say --key-file FILE"))
            }
            _ => (Exit::Refused, None),
        };
        Failure::new(exit, &error, advice)
    }
}

/// `topichub token`.
pub(super) fn run(args: TokenArgs) -> Result<(), Failure> {
    match args {
        TokenArgs { command: Some(TokenCommand::Inspect(args)), .. } => inspect(args),
        TokenArgs { make: MakeArgs { api_key: Some(name), role, .. }, .. } => make_api_key(&name, &role),
        TokenArgs { make, .. } => make_token(make),
    }
}

fn settings(path: &Path) -> Result<AuthSettings, Failure> {
    let sources = Layers::of_process(Some(path)).read().map_err(ConfigError::into_failure)?;
    let config = sources.merge().and_then(|merged| merged.config());
    let config = config.map_err(|mistake| ConfigError::from(mistake).into_failure())?;
    Ok(config.auth.ok_or_else(|| TokenError::NoAuth(path.to_owned()))?)
}

fn make_api_key(name: &str, roles: &[String]) -> Result<(), Failure> {
    let pair = auth::new_api_key().map_err(TokenError::from)?;
    println!("{}", pair.key);
    eprintln!("This is the only time that the key is shown. For the configuration:\n");
    eprintln!("[[auth.api_keys]]\nname = {name:?}\nhash = \"{}\"\nroles = {roles:?}", pair.hash);
    Ok(())
}

fn make_token(args: MakeArgs) -> Result<(), Failure> {
    let settings = args.config.as_deref().map(settings).transpose()?;
    let issuer = match (&args.key_file, &settings) {
        (Some(path), _) => {
            let unreadable = |source| TokenError::KeyFile { path: path.clone(), source };
            let key = std::fs::read(path).map_err(unreadable)?;
            let key = key.strip_suffix(b"\n").unwrap_or(&key);
            let algorithm = args.algorithm.as_deref().unwrap_or("HS256");
            Issuer::new(algorithm, key, args.key_id.as_deref())
        }
        (None, Some(settings)) => Issuer::of_settings(settings, args.key_id.as_deref()),
        (None, None) => return Err(TokenError::NoKey.into()),
    };
    let issuer = issuer.map_err(TokenError::from)?;
    let expires = (!args.expires.is_zero()).then_some(args.expires);
    let plan = TokenPlan { claims: claims(args, settings.unwrap_or_default()), expires };
    println!("{}", issuer.issue(&plan).map_err(TokenError::from)?);
    Ok(())
}

fn claims(args: MakeArgs, settings: AuthSettings) -> Map<String, Value> {
    let mut topics = Map::new();
    let lists = [
        ("subscribe", args.subscribe),
        ("publish", args.publish),
        ("presence", args.presence),
        ("history", args.history),
    ];
    for (action, patterns) in lists.into_iter().filter(|(_, patterns)| !patterns.is_empty()) {
        topics.insert(action.to_owned(), patterns.into());
    }
    let claims = [
        ("iss".to_owned(), args.issuer.or(settings.issuer).map(Value::from)),
        ("aud".to_owned(), args.audience.or(settings.audience).map(Value::from)),
        ("jti".to_owned(), args.token_id.map(Value::from)),
        (settings.user_claim, args.user.map(|name| json!(name))),
        (settings.roles_claim, (!args.role.is_empty()).then(|| args.role.into())),
        (settings.topics_claim, (!topics.is_empty()).then(|| topics.into())),
        (settings.data_claim, args.data),
    ];
    claims.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn inspect(args: InspectArgs) -> Result<(), Failure> {
    let credential = match args.token.as_str() {
        "-" => {
            let mut text = String::new();
            // Somewhat more than a token, so that one that is too long is told so.
            let input = io::stdin().take(2 * TOKEN_BYTES_MAX as u64);
            io::BufReader::new(input).read_to_string(&mut text).map_err(TokenError::Input)?;
            text.trim().to_owned()
        }
        text => text.to_owned(),
    };
    if !auth::is_api_key(&credential) {
        let (header, claims) = auth::take_apart(&credential).ok_or(TokenError::NoToken(
            "a token is three parts in base64url with dots between them, the first two JSON",
        ))?;
        println!("header  {header}\nclaims  {claims}");
    }
    let Some(path) = &args.config else {
        println!("valid   not verified: say --config FILE");
        return Ok(());
    };
    let settings = settings(path)?;
    let system = actix_rt::System::new();
    let identified =
        system.block_on(async { Ok::<_, AuthError>(Auth::new(&settings)?.identify(&credential).await) });
    match identified.map_err(TokenError::from)? {
        Ok(identity) => {
            print!("{}", shown(&identity));
            Ok(())
        }
        Err(error) => {
            println!("valid   no: {}", error.message);
            Err(Failure { exit: Exit::Refused, text: "error: the server would refuse it".to_owned() })
        }
    }
}

/// Who somebody is, line by line.
fn shown(identity: &Identity) -> String {
    let mut lines = vec!["valid   yes".to_owned()];
    let mut line = |name: &str, text: &str| lines.push(format!("{name:<8}{text}"));
    line("user", identity.user.as_deref().unwrap_or("none"));
    if identity.roles.is_empty() {
        line("roles", "none");
    } else {
        line("roles", &identity.roles.join(", "));
    }
    for action in Action::ALL {
        let patterns: Vec<_> = identity.grants.of(action).iter().map(|pattern| pattern.as_str()).collect();
        let patterns = if patterns.is_empty() { "nothing".to_owned() } else { patterns.join(", ") };
        line("may", &format!("{action} {patterns}"));
    }
    if identity.grants.admin {
        line("may", "administer the server");
    }
    match identity.expires {
        Some(expires) => line("ends", &format!("in {}", left_until(expires))),
        None => line("ends", "never"),
    }
    lines.push(String::new());
    lines.join("\n")
}

fn left_until(time: Duration) -> humantime::FormattedDuration {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    humantime::format_duration(Duration::from_secs(time.saturating_sub(now).as_secs()))
}

fn parse_pattern(text: &str) -> Result<String, String> {
    auth::check_pattern(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn parse_json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}
