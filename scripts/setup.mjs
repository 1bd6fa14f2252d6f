// Makes a fresh machine ready: node modules, the build, QEMU. Only Node's own modules, since nothing is installed yet.

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

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
    ...readdirSync(folder, { recursive: true, withFileTypes: true }).map((it) =>
      changedMs(join(it.parentPath ?? it.path, it.name)),
    ),
  );
if (changedMs(at("dist", "cli", "main.js")) < newestMs(at("src"))) run("npm", ["run", "--silent", "build"]);

const qemu = "qemu-system-x86_64";
if (spawnSync(qemu, ["--version"]).status !== 0) {
  const install = "apt-get install -y --no-install-recommends qemu-system-x86";
  if (process.getuid?.() !== 0)
    fail(`${qemu} is missing; as root, run: ${install} (on other systems: install QEMU for x86_64)`);
  if (spawnSync("apt-get", ["--version"]).status !== 0)
    fail(`${qemu} is missing and this system has no apt-get; install QEMU for x86_64`);
  const quiet = { DEBIAN_FRONTEND: "noninteractive" };
  run("apt-get", ["update", "-qq"], quiet);
  const [command, ...args] = install.split(" ");
  run(command, ["-qq", ...args], quiet);
}
