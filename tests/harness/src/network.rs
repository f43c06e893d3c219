//! A network of the test's own, in which machines can be cut off from servers.
//!
//! The test runs in a network namespace that has nothing but a loopback. Its machines are addresses of that
//! loopback: a server listens on all of them, each machine reaches it by its own, and so the kernel can drop the packets
//! between one machine and one server without a word to either, in one direction or in both.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
};

use rustix::process::getuid;

/// Says that this process already runs in a network of its own: the file in which the test tells that it was found.
const MARK: &str = "QUAYSIDE_OWN_NETWORK";

/// The table of rules.
const TABLE: &str = "quayside";

/// The network, from inside. Dropping it lets all packets through again; it ends with the process.
#[derive(Debug)]
pub struct Network {
    cuts: Vec<Cut>,
}

/// What does not get through between a machine and a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// The address by which the machine reaches the server.
    pub machine: Ipv4Addr,
    /// The port of the server.
    pub port: u16,
    /// Which packets are dropped.
    pub way: Way,
    /// How many of a hundred.
    pub share: u8,
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the machine to the server.
    There,
    /// From the server to the machine.
    Back,
    /// Both.
    Both,
}

/// The address of machine `no`, from 0.
#[must_use]
pub fn machine(no: usize) -> Ipv4Addr {
    let last = u8::try_from(no + 2).expect("fewer than 254 machines");
    Ipv4Addr::new(127, 0, 0, last)
}

impl Network {
    /// The network of the test `name` of this program. `None`: the test has run in one, in a process of its own, and
    /// has passed there.
    ///
    /// # Panics
    /// When it has failed there, or no network can be made: that needs root, `unshare`, `ip` and `nft`.
    #[must_use]
    pub fn of_test(name: &str) -> Option<Self> {
        if let Some(found) = std::env::var_os(MARK) {
            std::fs::write(found, name).expect("telling that the test was found");
            run("ip", &["link", "set", "lo", "up"], "");
            let network = Self { cuts: Vec::new() };
            network.apply();
            return Some(network);
        }
        assert!(
            getuid().is_root(),
            "this test cuts machines off inside of a network namespace, which needs root"
        );
        let program = std::env::current_exe().expect("the path of the running program");
        let found = tempfile::NamedTempFile::new().expect("a temporary file");
        // The kernel ends it with the thread that waits for it.
        let status = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--"])
            .arg(program)
            .args(["--exact", name, "--nocapture"])
            .env(MARK, found.path())
            .stdin(Stdio::null())
            .status();
        let status = status.expect("starting unshare");
        assert!(status.success(), "in a network of its own: {status}");
        // A program that is asked for a test that it has not runs none, and is content.
        let told = std::fs::read_to_string(found.path()).expect("what the test has told");
        assert_eq!(told, name, "this program has no such test");
        None
    }

    /// Drops packets from now on, besides those that are dropped already.
    pub fn cut(&mut self, cut: Cut) {
        self.cuts.push(cut);
        self.apply();
    }

    /// Lets everything through again.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.apply();
    }

    fn apply(&self) {
        run("nft", &["-f", "-"], &rules(&self.cuts));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Who panics has a better failure to tell.
        if !std::thread::panicking() {
            self.heal();
        }
    }
}

/// `addr` as `machine` reaches it.
#[must_use]
pub fn seen_from(machine: Ipv4Addr, addr: SocketAddr) -> SocketAddr {
    (machine, addr.port()).into()
}

/// The whole table, in place of what was there.
fn rules(cuts: &[Cut]) -> String {
    let mut text = format!(
        "table ip {TABLE}\ndelete table ip {TABLE}\ntable ip {TABLE} {{\n chain out {{\n  \
         type filter hook output priority 0;\n"
    );
    for Cut {
        machine,
        port,
        way,
        share,
    } in cuts
    {
        let some = match share {
            100.. => String::new(),
            share => format!("numgen random mod 100 < {share} "),
        };
        for (this, side) in [(Way::There, "daddr"), (Way::Back, "saddr")] {
            if *way == Way::Both || *way == this {
                let tcp = side.replace("addr", "port");
                writeln!(text, "  ip {side} {machine} tcp {tcp} {port} {some}drop")
                    .expect("writing to a string");
            }
        }
    }
    text.push_str(" }\n}\n");
    text
}

fn run(program: &str, args: &[&str], input: &str) {
    let mut command = Command::new(program);
    let search = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    command.args(args).env("PATH", search);
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("starting {command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    stdin.write_all(input.as_bytes()).expect("telling it");
    drop(stdin);
    let out = child.wait_with_output().expect("waiting for it");
    assert!(
        out.status.success(),
        "{command:?} with\n{input}{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        time::Duration,
    };

    use super::*;

    #[test]
    fn packets_of_one_machine_are_dropped_in_one_direction() {
        let name = "network::tests::packets_of_one_machine_are_dropped_in_one_direction";
        let Some(mut network) = Network::of_test(name) else {
            return;
        };
        let server = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a listener");
        let port = server.local_addr().expect("its address").port();
        let mut pairs: Vec<_> = [0, 1]
            .map(|no| {
                let client = TcpStream::connect((machine(no), port)).expect("a connection");
                let (served, _) = server.accept().expect("its other end");
                for end in [&client, &served] {
                    end.set_read_timeout(Some(Duration::from_millis(100)))
                        .expect("a bound");
                }
                (client, served)
            })
            .into();
        network.cut(Cut {
            machine: machine(0),
            port,
            way: Way::Back,
            share: 100,
        });
        let gets = |from: &mut TcpStream, to: &mut TcpStream| {
            from.write_all(b"x").expect("it is taken to be sent");
            to.read_exact(&mut [0]).is_ok()
        };
        let mut seen = Vec::new();
        for (client, served) in &mut pairs {
            seen.push((gets(client, served), gets(served, client)));
        }
        assert_eq!(seen, [(true, false), (true, true)]);
        network.heal();
        let (client, _) = &mut pairs[0];
        client
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a bound");
        client
            .read_exact(&mut [0])
            .expect("what was dropped comes again");
    }
}
