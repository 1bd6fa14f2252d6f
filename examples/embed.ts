import { randomUUID } from "node:crypto";
import { launchGuest, migrate } from "switchover";

const guest = await launchGuest({
  name: "web-1",
  uuid: randomUUID(),
  args: ["-machine", "pc,accel=tcg", "-nodefaults", "-display", "none", "-m", "65544K"],
});
const migration = migrate({ guest, limits: { bandwidthMiBps: 500, maxDowntimeMs: 100, stallMs: 10_000 } });

for await (const { source, destination, progress } of migration.progress) {
  console.log(
    `source ${source}, destination ${destination ?? "-"}, ${progress?.remainingBytes ?? "?"} bytes remaining`,
  );
}
const { kind, runs, error, downtimeMs, guest: now } = await migration.outcome;
console.log(`${kind}: ${runs} runs it (pid ${now?.process.pid}), downtime ${downtimeMs} ms`);
if (error) console.error(error.message, error.undone, error.next);
await now?.end();
