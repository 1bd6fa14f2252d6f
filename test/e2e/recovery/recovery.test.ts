// Checks G1, G2 and G6 on real QEMU after kill -9 of the engine, at every record of its journal.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { hasOpenssl } from "../../support/pki.js";
import { qemuPki } from "../../support/qemu-pki.js";
import { crashAndRecover } from "./crash.js";

// Alternates, for every record of a migration that arrives and of one that is aborted, between a death when it is written and
// one when it is durable; `npm run faults` has the other half.
const records = Array.from({ length: 21 }, (_, diesAt) => ({
  diesAt,
  when: diesAt % 2 === 0 ? ("made" as const) : ("durable" as const),
}));

describe("after kill -9 of the engine one copy of the guest runs on without a gap", () => {
  test.each(records)("when it dies at record $diesAt, $when", async (crash) => {
    const { outcome, where, story } = await crashAndRecover({ ...crash, aborts: false });
    expect(where).not.toMatch(/^ended/);
    expect([null, "arrived", "stayed"], story.join("\n")).toContain(outcome);
  });

  test.each([12, 13, 14, 15, 16, 17, 18, 19])("when it dies at record %i of an abort", async (diesAt) => {
    const when = diesAt % 2 === 0 ? "durable" : "made";
    const { outcome } = await crashAndRecover({ diesAt, when, aborts: true });
    expect([null, "arrived", "stayed", "aborted"]).toContain(outcome);
  });
});

test("a migration that was under way continues to its end", async () => {
  const { outcome, story, inspected } = await crashAndRecover({ diesAt: 11, when: "durable", aborts: false });
  expect(outcome).toBe("arrived");
  expect(inspected.toSorted()).toEqual(["coordinator", "destination", "source"]);
  expect(story.find((record) => record.startsWith("source"))).toBe("source probing");
});

describe.skipIf(!hasOpenssl)(
  "an engine that resumes a migration with stream options resets QEMU's settings",
  () => {
    test.each([
      [11, false],
      [13, true],
      [15, true],
    ])("when it dies at record %i (aborted: %s)", async (diesAt, aborts) => {
      const directory = mkdtempSync(join(tmpdir(), "pki-"));
      const credentials = qemuPki(directory, "ca", "here.example");
      const stream = { parallel: { connections: 3 }, tls: { credentials, hostname: "here.example" } };
      const { where, outcome } = await crashAndRecover({ diesAt, when: "durable", aborts, stream });
      expect(where).not.toMatch(/^ended/);
      expect(["arrived", "stayed", "aborted"]).toContain(outcome);
      rmSync(directory, { recursive: true });
    });
  },
);
