// Launches a real libvirtd whose configuration, state, sockets, processes and hostname are in namespaces that end with it,
// QEMUs included. Several can run side by side and migrate to one another.

import { spawn, spawnSync } from "node:child_process";
import { randomInt, randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { patienceMs } from "./patience.js";

export interface LibvirtdOptions {
  /** Its hostname; two hosts that migrate to one another need different ones. Default: `hosta`. */
  readonly hostname?: string;
  /** Listens for TLS on 127.0.0.1, with the server's certificate and key of this directory, under libvirt's names. */
  readonly tls?: { readonly port: number; readonly pkiPath: string };
  /** Additional lines of its qemu.conf. */
  readonly qemu?: Readonly<Record<string, string | number>> | undefined;
}

export interface Libvirtd {
  readonly uri: string;
  readonly socket: string;
}

export interface LaunchedLibvirtd extends Libvirtd {
  /** Ends it with all processes that it started. */
  stop(): Promise<void>;
}

const namespaces = ["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"];

function obstacle(): string | undefined {
  const tools = ["libvirtd", "virsh", "unshare"];
  const missing = tools.filter((tool) => spawnSync(tool, ["--version"]).status !== 0);
  if (missing.length > 0) return `there is no ${missing.join(", no ")} here`;
  if (process.getuid?.() !== 0) return "namespaces need root";
  if (spawnSync("unshare", [...namespaces, "true"]).status !== 0) return "namespaces are not allowed here";
  return undefined;
}
const why = obstacle();
export const hasLibvirtd = why === undefined;
if (!hasLibvirtd) console.warn(`real libvirt is not tested: ${why}`);

const directories = ["lib", "cache", "log", "run", "etc"] as const;

/** Debian's libvirtd does not start without this user, even when its QEMUs run as root; another package creates it. */
const user = "libvirt-qemu";

/** The first process of its namespace: it reaps orphans, and all processes end when its input does. */
const script = `
set -e
for place in lib cache log; do
  mount -t tmpfs none /var/$place
  mkdir /var/$place/libvirt
  mount --bind "$1/$place" /var/$place/libvirt
done
mount -t tmpfs none /run
mkdir /run/libvirt
mount --bind "$1/run" /run/libvirt
mount --bind "$1/etc" /etc/libvirt
for file in passwd group; do
  grep -q "^$3:" /etc/$file && continue
  { cat /etc/$file; echo "$3:x:64055:64055:::"; } > "$1/$file"
  mount --bind "$1/$file" /etc/$file
done
hostname "$2"
shift 3
exec 3<&0
cat <&3 >/dev/null &
lifeline=$!
{ libvirtd "$@" || true; kill $lifeline; } &
wait $lifeline
`;

export async function launchLibvirtd(options: LibvirtdOptions = {}): Promise<LaunchedLibvirtd> {
  const directory = mkdtempSync(join(tmpdir(), "lv-"));
  for (const name of directories) mkdirSync(join(directory, name));
  configure(join(directory, "etc"), options);
  const { hostname = "hosta", tls } = options;
  const command = ["sh", "-c", script, "sh", `${directory}/`, hostname, user, ...(tls ? ["--listen"] : [])];
  const process = spawn("unshare", [...namespaces, ...command], { stdio: ["pipe", "ignore", "pipe"] });
  let said = "";
  process.stderr.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  const exited = once(process, "exit");
  const stop = async () => {
    process.stdin.end();
    await exited;
    rmSync(directory, { recursive: true, force: true });
  };
  const socket = join(directory, "run", "libvirt-sock");
  const log = () =>
    `${said}${readFileSync(join(directory, "log", "libvirtd.log"), { encoding: "utf8", flag: "a+" })}`;
  const endMs = Date.now() + patienceMs;
  while (!(await listens(socket))) {
    if (process.exitCode !== null || Date.now() > endMs) {
      const words = log();
      await stop();
      throw new Error(`libvirtd did not start:\n${words}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { uri: `qemu+unix:///system?socket=${socket}`, socket, stop };
}

function configure(etc: string, { tls, qemu: more }: LibvirtdOptions): void {
  const settings = {
    auth_unix_rw: "none",
    auth_unix_ro: "none",
    host_uuid: randomUUID(),
    keepalive_interval: 1,
    log_outputs: "3:file:/var/log/libvirt/libvirtd.log",
    ...(tls !== undefined && {
      listen_tls: 1,
      listen_addr: "127.0.0.1",
      tls_port: `${tls.port}`,
      auth_tls: "none",
      ca_file: join(tls.pkiPath, "cacert.pem"),
      cert_file: join(tls.pkiPath, "servercert.pem"),
      key_file: join(tls.pkiPath, "serverkey.pem"),
    }),
  };
  // Its own range: two daemons on one machine do not know each other's ports.
  const port = 61_000 + 8 * randomInt(560);
  const qemu = {
    migration_port_min: port,
    migration_port_max: port + 7,
    user: "root",
    group: "root",
    security_driver: "none",
    namespaces: [],
    cgroup_controllers: [],
    stdio_handler: "file",
    remember_owner: 0,
    ...more,
  };
  const text = (all: object) =>
    Object.entries(all)
      .map(([name, value]) => `${name} = ${JSON.stringify(value)}\n`)
      .join("");
  writeFileSync(join(etc, "libvirtd.conf"), text(settings));
  writeFileSync(join(etc, "qemu.conf"), text(qemu));
}

const listens = (path: string): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
