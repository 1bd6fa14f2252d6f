// Post-copy on real QEMUs: the guest runs at the destination before its memory is there.

import { expect, test } from "vitest";
import { inLab, memoryMoves } from "./lab.js";

const slow = { bandwidthMiBps: 20 };

test("a guest whose memory is still coming runs at the destination, and arrives whole", async () => {
  await inLab({ workingSetMiB: 32, dirtyMiBps: 64 }, async (lab) => {
    const migration = lab.migrate({ postcopy: true, limits: slow }, (it) =>
      console.log(
        it.side,
        it.kind === "state" ? `${it.state} <- ${it.event} ${JSON.stringify(it.because)}` : "",
      ),
    );
    await memoryMoves(migration);
    expect(await migration.startPostcopy()).toMatchObject({ applied: true });
    const outcome = await lab.ended(migration);
    console.log(outcome.pauseMs);
    expect(outcome.kind).toBe("arrived");
  });
});
