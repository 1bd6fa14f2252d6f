// Prepares a fresh machine: node modules, the build, QEMU. Uses only Node's own modules, because nothing is installed yet.

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { fetchSecondQemu } from "./second-qemu.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const at = (...parts) => join(root, ...parts);
const changedMs = (path) => (existsSync(path) ? statSync(path).mtimeMs : 0);
const run = (command, args, env = {}) => {
  console.error(`setup: ${command} ${args.join(" ")}`);
  execFileSync(command, args, { cwd: root, stdio: ["ignore", 2, 2], env: { ...process.env, ...env } });
};
const fail = (sentence) => {
  console.error(`setup: ${sentence}`);
  process.exit(2);
};

const [major, minor] = process.versions.node.split(".").map(Number);
if (major < 20 || (major === 20 && minor < 19))
  fail(`Node ${process.versions.node} is too old; install Node 20.19 or newer`);

if (changedMs(at("node_modules", ".package-lock.json")) < changedMs(at("package-lock.json"))) {
  run("npm", ["ci", "--no-audit", "--no-fund"]);
}

const newestMs = (folder) =>
  Math.max(
    ...readdirSync(folder, { recursive: true, withFileTypes: true }).map((entry) =>
      changedMs(join(entry.parentPath ?? entry.path, entry.name)),
    ),
  );
if (changedMs(at("dist", "inspector", "page.html")) < Math.max(newestMs(at("src")), newestMs(at("scripts"))))
  run("npm", ["run", "--silent", "build"]);

/** Programs from the system's package manager: a command that proves the presence, its Debian package and its name. */
const wanted = [
  { command: "qemu-system-x86_64", package: "qemu-system-x86", name: "QEMU for x86_64" },
  ...(process.argv.includes("--tests")
    ? [
        { command: "chromium", package: "chromium", name: "Chromium" },
        { command: "etcd", package: "etcd-server", name: "etcd" },
        { command: "ip", package: "iproute2", name: "iproute2" },
        { command: "libvirtd", package: "libvirt-daemon", name: "libvirt's daemon" },
        { command: "qemu-img", package: "qemu-utils", name: "QEMU's image tools" },
        { command: "/usr/lib/postgresql/15/bin/postgres", package: "postgresql-15", name: "PostgreSQL 15" },
        { command: "virsh", package: "libvirt-clients", name: "libvirt's virsh" },
      ]
    : []),
];
/** Daemons are in /usr/sbin, which is often missing from the PATH of users other than root. */
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` };
const missing = wanted.filter(
  ({ command }) => spawnSync(command, ["--version"], { env }).error !== undefined,
);
if (missing.length > 0) {
  const commands = missing.map(({ command }) => command).join(", ");
  const names = missing.map(({ name }) => name).join(", ");
  const install = [
    "apt-get",
    "install",
    "-y",
    "--no-install-recommends",
    ...missing.map((program) => program.package),
  ];
  if (process.getuid?.() !== 0)
    fail(`not found: ${commands}; as root, run: ${install.join(" ")} (on other systems: install ${names})`);
  if (spawnSync("apt-get", ["--version"]).status !== 0)
    fail(`not found: ${commands}, and this system has no apt-get; install ${names}`);
  const quiet = { DEBIAN_FRONTEND: "noninteractive" };
  run("apt-get", ["update", "-qq"], quiet);
  const [command, ...args] = install;
  run(command, ["-qq", ...args], quiet);
}

if (process.argv.includes("--tests")) fetchSecondQemu();
