// Provides a second QEMU of another version for the tests: from Debian's backports, found through the system's own package
// sources, unpacked into its own directory and never installed. Uses only Node's own modules, as setup.mjs does. Without it
// the tests that need it are skipped with a notice.

import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const release = "bookworm";
const suite = `${release}-backports`;
const packages = ["qemu-system-x86", "qemu-system-common", "qemu-system-data", "seabios"];
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

const cache = join(dirname(fileURLToPath(import.meta.url)), "..", "node_modules", ".cache");
const home = join(cache, "second-qemu");
/** A wrapper that executes this QEMU with its own firmware; its pid is QEMU's. */
export const secondQemu = join(home, "qemu-system-x86_64");

const run = (command, args, options = {}) =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], ...options });
const isThere = (command) => spawnSync(command, ["--version"]).error === undefined;

/** Fetches the second QEMU unless it exists; prints a notice when that is not possible. */
export function fetchSecondQemu() {
  if (existsSync(secondQemu)) return;
  const missing = ["apt-get", "dpkg"].find((command) => !isThere(command));
  if (missing !== undefined) return skip(`${missing} not found`);
  const work = `${home}-${process.pid}`;
  try {
    console.error(`setup: unpacking QEMU from ${suite} into ${home}`);
    unpack(work);
    rmSync(home, { recursive: true, force: true });
    renameSync(work, home);
    writeFileSync(secondQemu, wrapper(home));
    chmodSync(secondQemu, 0o755);
    console.error(`setup: ${run(secondQemu, ["--version"]).split("\n")[0]}`);
  } catch (error) {
    rmSync(secondQemu, { force: true });
    skip(
      String(error.stderr || error.message)
        .trim()
        .split("\n")
        .at(-1),
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const skip = (why) =>
  console.error(
    `setup: no second QEMU (${why}); tests between two QEMU versions are skipped, all others run`,
  );

/** Returns the archive from which the system gets Debian's release; its backports are in the same archive. */
function archive() {
  const format = "$(REPO_URI) $(RELEASE) $(COMPONENT)";
  const targets = run("apt-get", ["indextargets", "--format", format, "Created-By: Packages"]).split("\n");
  const uris = targets.filter((line) => line.endsWith(` ${release} main`)).map((line) => line.split(" ")[0]);
  if (uris[0] === undefined) throw new Error(`no package source of this system is Debian's ${release}`);
  return uris[0];
}

/** Downloads and unpacks the packages. apt-get verifies the signature of the list and the SHA256 of each package. */
function unpack(work) {
  const at = (...parts) => join(work, ...parts);
  for (const folder of ["lists/partial", "archives/partial", "root"])
    mkdirSync(at(folder), { recursive: true });
  writeFileSync(at("sources.list"), `deb [signed-by=${keyring}] ${archive()} ${suite} main\n`);
  const settings = {
    "Dir::Etc::SourceList": at("sources.list"),
    "Dir::Etc::SourceParts": "/dev/null",
    "Dir::State::Lists": at("lists"),
    "Dir::Cache": work,
    "APT::Sandbox::User": "root",
    "Acquire::Retries": 0,
    "Acquire::http::Timeout": 10,
    "Acquire::Languages": "none",
    "APT::Update::Error-Mode": "any",
  };
  const options = Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  const apt = (...args) => run("apt-get", [...options, "-qq", ...args], { cwd: at("archives") });
  apt("update");
  apt("download", "-t", suite, ...packages);
  const files = readdirSync(at("archives")).filter((file) => file.endsWith(".deb"));
  for (const file of files) run("dpkg", ["-x", at("archives", file), at("root")]);
  const missing = missingLibraries(at("root/usr/bin/qemu-system-x86_64"));
  if (missing.length > 0) {
    if (process.getuid?.() !== 0) throw new Error(`these libraries are missing: ${missing.join(", ")}`);
    const [main] = files.filter((file) => file.startsWith("qemu-system-x86"));
    const wanted = run("dpkg-deb", ["-f", at("archives", main), "Depends"])
      .split(",")
      .map((dependency) => dependency.trim().split(" ")[0])
      .filter((name) => name.startsWith("lib"));
    run("apt-get", ["install", "-qq", "-y", "--no-install-recommends", ...wanted], {
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    });
  }
  for (const folder of ["lists", "archives"]) rmSync(at(folder), { recursive: true });
}

const missingLibraries = (binary) =>
  run("ldd", [binary])
    .split("\n")
    .filter((line) => line.includes("not found"))
    .map((line) => line.trim().split(" ")[0]);

const wrapper = (directory) => `#!/bin/sh
exec "${directory}/root/usr/bin/qemu-system-x86_64" -L "${directory}/root/usr/share/qemu" -L "${directory}/root/usr/share/seabios" "$@"
`;

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) fetchSecondQemu();
