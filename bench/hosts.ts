// Measures two hosts on this machine, interleaved on the same guest: libvirtd with virsh, switchoverd with the same virsh, and
// switchoverd with our own command. Measures the downtime from STOP to RESUME and the overhead of the control plane (wall time of
// the command minus QEMU's time from `setup` to `completed`) from QEMU's own trace. Prints a table and writes
// bench/results/hosts.json. `npm run bench:hosts [runs]`.

import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HostProcess, streams } from "../test/support/host-process.js";
import { launchLibvirtd } from "../test/support/launch-libvirtd.js";
import { median } from "./median.js";

const runs = Number(process.argv[2] ?? 20);
const directory = mkdtempSync(join(tmpdir(), "switchover-bench-"));
const uuid = randomUUID();

/** A QEMU wrapper that traces state changes with timestamps, one file per process. */
const emulator = join(directory, "qemu.sh");
writeFileSync(
  emulator,
  `#!/bin/sh\nexec qemu-system-x86_64 "$@" -D ${directory}/trace.$(date +%N)$$ -trace vm_state_notify -trace migrate_set_state -msg timestamp=on\n`,
  { mode: 0o755 },
);
const xml = `<domain type='qemu'><name>bench</name><uuid>${uuid}</uuid><memory unit='KiB'>65536</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features>
  <devices><emulator>${emulator}</emulator></devices></domain>`;

interface Measured {
  readonly downtimeMs: number;
  readonly overheadMs: number;
}

function run(command: string, ...words: string[]): void {
  const { status, stderr } = spawnSync(command, words);
  if (status !== 0) throw new Error(`${command} ${words.join(" ")}: ${stderr}`);
}

type Mover = (from: string, to: string) => void;
const byVirsh: Mover = (from, to) =>
  run("virsh", "-q", "-c", from, "migrate", "--live", "bench", to, "--migrateuri", "tcp://127.0.0.1");
const byOurs: Mover = (from, to) =>
  run(process.execPath, "dist/cli/main.js", "migrate", "--from", from, "--to", to, "--domain", "bench");

/** Boots the guest, migrates it, and destroys it at the destination. */
async function measure({ from, to, mover }: Pair): Promise<Measured> {
  const file = join(directory, "bench.xml");
  writeFileSync(file, xml);
  run("virsh", "-q", "-c", from, "create", file);
  // Waits until the firmware has found no boot device and no longer writes memory.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  const before = traces().map((path) => [path, readFileSync(path, "utf8").length] as const);
  const startedMs = performance.now();
  mover(from, to);
  const wallMs = performance.now() - startedMs;
  const skipped = new Map(before);
  const lines = traces().flatMap((path) =>
    readFileSync(path, "utf8")
      .slice(skipped.get(path) ?? 0)
      .split("\n"),
  );
  run("virsh", "-q", "-c", to, "destroy", "bench");
  for (const path of traces()) rmSync(path, { force: true });
  const at = (event: RegExp) => {
    const line = lines.find((text) => event.test(text));
    if (line === undefined) throw new Error(`QEMU's trace does not contain ${event}:\n${lines.join("\n")}`);
    return Number(/@(\d+\.\d+):/.exec(line)?.[1]) * 1000;
  };
  const qemuMs = at(/migrate_set_state.*completed/) - at(/migrate_set_state.*setup/);
  return {
    downtimeMs: at(/vm_state_notify running 1/) - at(/vm_state_notify running 0/),
    overheadMs: wallMs - qemuMs,
  };
}

const traces = () =>
  readdirSync(directory)
    .filter((file) => file.startsWith("trace."))
    .map((file) => join(directory, file));

interface Pair {
  readonly what: string;
  readonly from: string;
  readonly to: string;
  readonly mover: Mover;
}

const libvirtds = [
  await launchLibvirtd({ hostname: "hosta" }),
  await launchLibvirtd({ hostname: "hostb" }),
] as const;
const daemon = (name: string) =>
  new HostProcess(name, { migration: streams({ relay: true }) }, undefined, ["dist/cli/daemon.js"]);
const daemons = [daemon("hosta"), daemon("hostb")] as const;
for (const process of daemons) await process.start();
const ours = { from: daemons[0].uri, to: daemons[1].uri };
const pairs: readonly Pair[] = [
  { what: "libvirtd, virsh", from: libvirtds[0].uri, to: libvirtds[1].uri, mover: byVirsh },
  { what: "switchoverd, virsh", ...ours, mover: byVirsh },
  { what: "switchoverd, switchover migrate", ...ours, mover: byOurs },
];
const measured = new Map<string, Measured[]>(pairs.map(({ what }) => [what, []]));
try {
  // The first run of each is a warm-up.
  for (let round = 0; round <= runs; round += 1)
    for (const pair of pairs) {
      const figures = await measure(pair);
      if (round > 0) measured.get(pair.what)?.push(figures);
    }
} finally {
  for (const libvirtd of libvirtds) await libvirtd.stop();
  for (const process of daemons) await process.remove();
  rmSync(directory, { recursive: true, force: true });
}

const rows = [...measured].map(([what, all]) => ({
  what,
  downtimeMs: Math.round(median(all.map((item) => item.downtimeMs)) * 10) / 10,
  overheadMs: Math.round(median(all.map((item) => item.overheadMs))),
}));
console.table(rows);
const [libvirt, virsh] = rows;
if (libvirt !== undefined && virsh !== undefined) {
  const ratio = (a: number, b: number) => Math.round((a / b) * 100) / 100;
  console.log(
    `switchoverd against libvirtd, both with virsh: overhead ${ratio(virsh.overheadMs, libvirt.overheadMs)} (target 0.25), ` +
      `downtime ${ratio(virsh.downtimeMs, libvirt.downtimeMs)} (target 1)`,
  );
}
mkdirSync("bench/results", { recursive: true });
writeFileSync(
  "bench/results/hosts.json",
  `${JSON.stringify({ runs, rows, raw: Object.fromEntries(measured) }, null, 2)}\n`,
);
