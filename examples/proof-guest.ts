import { migrate } from "switchover";
import { describeContinuity, launchProofGuest } from "switchover/proof-guest";

// A guest that counts in its memory, verifies everything it has written, and reports over its serial port.
const proof = await launchProofGuest({ workingSetMiB: 8, dirtyMiBps: 4 });
const migration = migrate({
  guest: proof.guest,
  destination: { sideArgs: proof.nextSide("destination") },
});
const { kind, guest: now } = await migration.outcome;
await proof.waitForPasses(1, 60_000);
console.log(kind, describeContinuity(await proof.check()));
await now?.end();
await proof.remove();
