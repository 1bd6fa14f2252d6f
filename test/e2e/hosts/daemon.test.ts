import { describe, expect, test } from "vitest";
import { inTwoHosts } from "../../support/host-process.js";

describe("two switchoverds", () => {
  test("move a guest, managed, without a gap in its count", async () => {
    await inTwoHosts({}, async (lab) => {
      const { kind, error } = await (await lab.managed()).outcome;
      expect(kind, error?.message).toBe("arrived");
      await lab.runsAt("b");
      expect(await lab.list("a")).toEqual([]);
      expect(await lab.list("b")).toMatchObject([{ name: lab.guest.name, uuid: lab.guest.uuid }]);
    });
  });

  test("move a guest, peer-to-peer, there and back", async () => {
    await inTwoHosts({}, async (lab) => {
      await lab.peerToPeer("a", "b");
      await lab.runsAt("b");
      await lab.peerToPeer("b", "a", "a2");
      await lab.runsAt("a", "a2");
    });
  });

  test("return a guest to the source when the client aborts", async () => {
    await inTwoHosts({}, async (lab) => {
      const migration = await lab.managed({ bandwidthMiBps: 8 });
      await lab.jobAt("a", (job) => job.dataProcessed > 0n);
      expect(await migration.abort()).toMatchObject({ accepted: true });
      expect((await migration.outcome).kind).toBe("aborted");
      await lab.runsAt("a");
      expect(await lab.list("b")).toEqual([]);
    });
  });
});
