// Runs a demo fleet on this machine: `npm run demo:fleet [arguments of drain]` starts eight switchoverds in four racks, 24
// guests that prove their continuity, and the engine (DBOS on its own PostgreSQL), and drains rack r0 unless the arguments
// select something else, such as `-- rack:r1 --dry-run`. Then it checks that every guest has kept counting. With KEEP=1 the
// fleet stays until Ctrl-C.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Postgres } from "../test/support/postgres.js";
import { RealFleet } from "../test/support/real-fleet.js";

const hosts = Array.from({ length: 8 }, (_, index) => `h${index}`);
const homes = Array.from({ length: 24 }, (_, index) => hosts[index % hosts.length] ?? "");
const given = process.argv.slice(2);
const [first] = given;
const what = first === undefined || first.startsWith("-") ? ["rack:r0"] : [];
const command = [process.execPath, "dist/cli/main.js", "drain"] as const;

const fleet = new RealFleet(hosts, homes, {
  racks: 4,
  wish: { workingSetMiB: 2, dirtyMiBps: 1 },
  program: ["dist/cli/daemon.js"],
});
const postgres = new Postgres();
// The drain handles Ctrl-C itself; this process ends after it.
process.on("SIGINT", () => {});
try {
  console.error("starting eight switchoverds, 24 guests and PostgreSQL");
  await Promise.all([fleet.begin(), postgres.start()]);
  const path = join([...fleet.hosts.values()][0]?.directory ?? "", "fleet.json");
  writeFileSync(path, JSON.stringify(fleet.file, null, 2));
  const where = ["--fleet", path, "--engine", postgres.url];
  // Slow enough to watch.
  const words = [...what, ...where, "--bandwidth", "8", ...given];
  console.error(`switchover drain ${words.join(" ")}\n`);
  const [program, ...rest] = command;
  const [code] = (await once(spawn(program, [...rest, ...words], { stdio: "inherit" }), "close")) as [number];
  await fleet.check();
  const counts = new Map(hosts.map((host) => [host, 0]));
  for (const [, at] of await fleet.whereAll())
    for (const host of at) counts.set(host, (counts.get(host) ?? 0) + 1);
  console.log(
    `\nall ${homes.length} guests run exactly once, and each has counted without a gap: ${[...counts].map(([host, guests]) => `${guests} on ${host}`).join(", ")}`,
  );
  if (process.env["KEEP"] !== undefined) {
    console.error(`the fleet stays until Ctrl-C: npx switchover drain … ${where.join(" ")}`);
    const held = setInterval(() => {}, 60_000);
    await once(process, "SIGINT");
    clearInterval(held);
  }
  process.exitCode = code;
} finally {
  await postgres.remove();
  await fleet.end();
}
