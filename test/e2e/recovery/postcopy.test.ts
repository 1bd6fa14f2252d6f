// Checks G2 on real QEMU after kill -9 of the engine in post-copy, while the destination's QEMU waits for memory that does not
// arrive: its main monitor does not answer until its connection has been replaced.

import { expect, test } from "vitest";
import type { RunningGuest } from "../../../src/library/local/running-guest.js";
import { makeMute } from "../../support/mute.js";
import { testLimitMs } from "../../support/patience.js";
import { qemusOf } from "../../support/qemus-of.js";
import { crashAndRecover } from "./crash.js";

const guest = { memoryKiB: 131_080, workingSetMiB: 96, dirtyMiBps: 64 };

/** Resolves when the main monitor of the guest's other QEMU does not answer. */
async function destinationIsMute({ spec, process: source }: RunningGuest): Promise<void> {
  for (const pid of qemusOf(spec.uuid)) if (pid !== source.pid) await makeMute(pid, guest.memoryKiB * 1024);
}

test("a post-copy migration that lost its connection and its engine is recovered, although the destination's QEMU waits for memory", {
  timeout: testLimitMs,
}, async () => {
  const { outcome, where, story } = await crashAndRecover({
    diesAt: -1,
    when: "made",
    aborts: false,
    guest,
    stream: { postcopy: { bandwidthMiBps: 8 } },
    breaksPostcopy: true,
    meanwhile: destinationIsMute,
  });
  expect(where).toMatch(/^source reconnecting/);
  expect(outcome, story.join("\n")).toBe("arrived");
});
