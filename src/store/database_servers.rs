//! The servers of a database URL. One of them is the primary, and after a failover another one is.
//!
//! The driver knows URLs with one server only. So this module splits a URL such as
//! `postgres://user@one,two:5433/name?target_session_attrs=read-write`, and looks for the server that accepts writes.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use url::form_urlencoded;

use super::error::{Result, StoreError};

/// How long one server may take to say whether it accepts writes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The servers in the order of the URL, at least one.
#[derive(Debug, Clone)]
pub(super) struct DatabaseServers(Vec<PgConnectOptions>);

/// A history of a cluster. A promotion begins one with a higher number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timeline {
    system_identifier: i64,
    number: i64,
}

/// The parts of a URL that sqlx does not parse.
struct UrlParts<'a> {
    /// The scheme and the user, such as `postgres://user@`.
    begin: &'a str,
    hosts: &'a str,
    /// From the slash on, without the query.
    path: &'a str,
    query: &'a str,
}

impl<'a> UrlParts<'a> {
    fn split(url: &'a str) -> Option<Self> {
        let authority = url.find("://")? + "://".len();
        let end = url[authority..]
            .find(['/', '?'])
            .map_or(url.len(), |length| authority + length);
        let hosts = url[authority..end]
            .rfind('@')
            .map_or(authority, |user| authority + user + 1);
        let (path, query) = url[end..].split_once('?').unwrap_or((&url[end..], ""));
        Some(Self {
            begin: &url[..hosts],
            hosts: &url[hosts..end],
            path,
            query,
        })
    }
}

impl DatabaseServers {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let parts = UrlParts::split(url).ok_or_else(|| invalid("it has no scheme"))?;
        let mut query = form_urlencoded::Serializer::new(String::new());
        let (mut hosts, mut ports) = (split_hosts(parts.hosts), Vec::new());
        for (key, value) in form_urlencoded::parse(parts.query.as_bytes()) {
            match &*key {
                "host" => {
                    let port = hosts.first().and_then(|(_, port)| port.clone());
                    hosts = value
                        .split(',')
                        .map(|host| (host.to_owned(), port.clone()))
                        .collect();
                }
                "port" => ports = value.split(',').map(str::to_owned).collect(),
                // The service writes, so it always needs the primary.
                "target_session_attrs" if is_for_writing(&value) => {}
                "target_session_attrs" => {
                    return Err(invalid("target_session_attrs must be read-write"));
                }
                _ => {
                    query.append_pair(&key, &value);
                }
            }
        }
        let query = query.finish();
        let servers = hosts.into_iter().enumerate().map(|(index, (host, port))| {
            // One port is for every host.
            let port = ports.get(index).or(ports.first()).cloned().or(port);
            let mut server = form_urlencoded::Serializer::new(query.clone());
            // The query overrides this host.
            let mut any = "";
            if !host.is_empty() {
                server.append_pair("host", &host);
                any = "localhost";
            }
            if let Some(port) = port {
                server.append_pair("port", &port);
            }
            let (begin, path, server) = (parts.begin, parts.path, server.finish());
            Ok(PgConnectOptions::from_str(&format!(
                "{begin}{any}{path}?{server}"
            ))?)
        });
        servers.collect::<Result<_>>().map(Self)
    }

    /// Changes the options of each server.
    pub(super) fn map(self, change: impl Fn(PgConnectOptions) -> PgConnectOptions) -> Self {
        Self(self.0.into_iter().map(change).collect())
    }

    pub(super) fn first(&self) -> &PgConnectOptions {
        self.0.first().expect("a URL has at least one server")
    }

    pub(super) const fn is_single(&self) -> bool {
        self.0.len() < 2
    }

    /// The first server that accepts writes. A single server is not asked.
    ///
    /// # Errors
    ///
    /// The error of the last server.
    pub(super) async fn find_primary(&self) -> Result<PgConnectOptions> {
        let (primary, _) = self.find_primary_again(self.first(), None).await?;
        Ok(primary)
    }

    /// The server that accepts writes, and its timeline. The `current` server is asked first: a server that was the
    /// primary before a failover may accept writes again. A server on an older timeline than `last` is such a server,
    /// and is refused. A single server is not asked and has no timeline.
    ///
    /// # Errors
    ///
    /// The error of the last server.
    pub(super) async fn find_primary_again(
        &self,
        current: &PgConnectOptions,
        last: Option<Timeline>,
    ) -> Result<(PgConnectOptions, Option<Timeline>)> {
        if self.is_single() {
            return Ok((self.first().clone(), None));
        }
        let mut failure = None;
        for server in self.beginning_with(current) {
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, timeline_for_writing(server)).await;
            match answer.unwrap_or_else(|_| Err(StoreError::timed_out())) {
                Ok(Some(timeline)) if last.is_some_and(|last| timeline.is_older_than(last)) => {
                    tracing::warn!(
                        database.host = server.get_host(),
                        database.port = server.get_port(),
                        "a server of the database URL accepts writes on an older timeline, so it is not the primary; \
                         stop it"
                    );
                }
                Ok(Some(timeline)) => return Ok((server.clone(), Some(timeline))),
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| {
            let problem = "no server of the database URL accepts writes";
            StoreError::Unavailable(sqlx::Error::Io(std::io::Error::other(problem)))
        }))
    }

    /// The servers in the order of the URL, except that `current` is the first.
    fn beginning_with(&self, current: &PgConnectOptions) -> Vec<&PgConnectOptions> {
        let mut servers: Vec<&PgConnectOptions> = self.0.iter().collect();
        servers.sort_by_key(|server| address(server) != address(current));
        servers
    }
}

impl Timeline {
    /// Whether a promotion ended this timeline. Timelines of different clusters cannot be compared.
    pub(super) const fn is_older_than(self, other: Self) -> bool {
        self.system_identifier == other.system_identifier && self.number < other.number
    }
}

/// The host or the folder of the socket, and the port.
pub(super) fn address(options: &PgConnectOptions) -> (String, Option<PathBuf>, u16) {
    let (host, socket) = (options.get_host().to_owned(), options.get_socket().cloned());
    (host, socket, options.get_port())
}

/// Splits `one,two:5433,[::1]:5432` into hosts and their ports.
fn split_hosts(hosts: &str) -> Vec<(String, Option<String>)> {
    let hosts = hosts.split(',').map(|host| {
        let has_port = |(_, port): &(&str, &str)| !port.ends_with(']');
        let (host, port) = match host.rsplit_once(':').filter(has_port) {
            Some((host, port)) => (host, Some(port.to_owned())),
            None => (host, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = form_urlencoded::parse(host.replace('+', "%2B").as_bytes())
            .next()
            .map_or_else(String::new, |(host, _)| host.into_owned());
        (host, port)
    });
    hosts.collect()
}

fn is_for_writing(target: &str) -> bool {
    ["any", "read-write", "primary"].contains(&target)
}

/// The timeline of a server that accepts writes; `None` if it does not.
async fn timeline_for_writing(server: &PgConnectOptions) -> Result<Option<Timeline>> {
    let mut connection = PgConnection::connect_with(server).await?;
    // After a promotion, pg_control_checkpoint() has the old timeline until the first checkpoint.
    let (system_identifier, number): (i64, Option<i64>) = sqlx::query_as(
        "-- store::database_servers::timeline_for_writing
        SELECT system_identifier,
               CASE WHEN NOT current_setting('transaction_read_only')::boolean
                    THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint END
          FROM pg_control_system()",
    )
    .fetch_one(&mut connection)
    .await?;
    Ok(number.map(|number| Timeline {
        system_identifier,
        number,
    }))
}

fn invalid(problem: &str) -> StoreError {
    StoreError::Database(sqlx::Error::Configuration(problem.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(url: &str) -> Vec<(String, u16)> {
        let servers = DatabaseServers::parse(url).unwrap().0;
        let server = |options: &PgConnectOptions| {
            assert_eq!(options.get_database(), Some("name"));
            assert_eq!(options.get_username(), "us@er");
            let socket = options.get_socket().map(|path| path.display().to_string());
            let host = socket.unwrap_or_else(|| options.get_host().to_owned());
            (host, options.get_port())
        };
        servers.iter().map(server).collect()
    }

    #[test]
    fn every_form_of_a_url_with_several_servers_is_split() {
        let one = [("one".to_owned(), 5432)];
        assert_eq!(servers("postgres://us%40er:pw@one:5432/name"), one);
        let two = [("one".to_owned(), 5432), ("two".to_owned(), 5433)];
        for url in [
            "postgres://us%40er:pw@one:5432,two:5433/name",
            "postgresql://us%40er@one:5432,two:5433/name?target_session_attrs=read-write&sslmode=prefer",
            "postgres://us%40er@/name?host=one,two&port=5432,5433&target_session_attrs=primary",
            "postgres://us%40er@localhost:1/name?host=one%2Ctwo&port=5432%2C5433",
        ] {
            assert_eq!(servers(url), two, "{url}");
        }
        assert_eq!(
            servers("postgres://us%40er@localhost:5433/name?host=%2Fa%20b,/c"),
            [("/a b".to_owned(), 5433), ("/c".to_owned(), 5433)]
        );
        assert_eq!(
            servers("postgres://us%40er@[::1]:5433,%2Frun%2Fpg/name?port=5434"),
            [("::1".to_owned(), 5434), ("/run/pg".to_owned(), 5434)]
        );
    }

    #[test]
    fn the_current_server_is_asked_first_and_the_others_in_the_order_of_the_url() {
        let servers = DatabaseServers::parse("postgres://one,two,three/name").unwrap();
        let order = |current: usize| {
            let servers = servers.beginning_with(&servers.0[current]);
            servers
                .into_iter()
                .map(PgConnectOptions::get_host)
                .collect::<Vec<_>>()
        };
        assert_eq!(order(0), ["one", "two", "three"]);
        assert_eq!(order(2), ["three", "one", "two"]);
    }

    #[test]
    fn only_an_earlier_timeline_of_the_same_cluster_is_older() {
        let timeline = |system_identifier, number| Timeline {
            system_identifier,
            number,
        };
        assert!(timeline(7, 1).is_older_than(timeline(7, 2)));
        assert!(!timeline(7, 2).is_older_than(timeline(7, 2)));
        assert!(!timeline(7, 3).is_older_than(timeline(7, 2)));
        assert!(!timeline(8, 1).is_older_than(timeline(7, 2)));
    }

    #[test]
    fn a_url_for_reading_is_refused() {
        for target in ["standby", "read-only", "prefer-standby"] {
            let url = format!("postgres://one,two/name?target_session_attrs={target}");
            assert!(DatabaseServers::parse(&url).is_err(), "{target}");
        }
        assert!(DatabaseServers::parse("one,two").is_err());
    }
}
