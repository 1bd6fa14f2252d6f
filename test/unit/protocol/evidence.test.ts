// Tests the table of conclusions about a guest that was sent to another host. Checks G1 and G3.

import { describe, expect, test } from "vitest";
import { type Conclusion, conclude, type Evidence } from "../../../src/protocol/evidence.js";

const running = (id: number) => ({ at: "active", id, is: "running" }) as const;
const shown = (id: number, is: "idle" | "busy" | "postcopyFailed") => ({ at: "active", id, is }) as const;
const absent = { at: "absent" } as const;
const silent = { at: "unanswered" } as const;
const libvirtd = { kind: "libvirtd", incomingId: 7 } as const;
const settled = (decision: "taken" | "refused" | null) =>
  ({ kind: "switchoverd", settled: decision }) as const;

/** After a Finish without an answer, in protocol 3, to a libvirtd whose incoming domain had the id 7. */
const lostAnswer: Evidence = {
  peer: libvirtd,
  protocol: 3,
  postcopy: false,
  prepare: "done",
  finish: "unanswered",
  seen: absent,
};

const table: readonly (readonly [string, Partial<Evidence>, Conclusion])[] = [
  ["a libvirtd without the guest, after a lost answer to Finish: it may have run and ended", {}, "unknown"],
  ["a libvirtd that does not answer", { seen: silent }, "unknown"],
  ["the incoming domain runs", { seen: running(7) }, "taken"],
  ["the incoming domain is paused, and its migration is over", { seen: shown(7, "idle") }, "taken"],
  ["the incoming domain waits", { seen: shown(7, "busy") }, "unknown"],
  ["a domain of that uuid runs under another id", { seen: running(8) }, "unknown"],
  [
    "a domain of that uuid runs, and the incoming id was never learned",
    { peer: { kind: "libvirtd", incomingId: null }, seen: running(7) },
    "unknown",
  ],
  ["Finish was answered with an error, and there is no such domain", { finish: "failed" }, "refused"],
  ["the same, and another domain of that uuid runs", { finish: "failed", seen: running(8) }, "unknown"],
  ["the same, and the libvirtd does not answer any more", { finish: "failed", seen: silent }, "unknown"],
  ["an error of Finish in protocol 2", { finish: "failed", protocol: 2 }, "unknown"],
  ["an error of Finish in post-copy", { finish: "failed", postcopy: true }, "unknown"],
  [
    "the incoming domain has lost its memory in post-copy",
    { postcopy: true, seen: shown(7, "postcopyFailed") },
    "lost",
  ],
  ["Finish was never sent", { finish: "unsent", seen: running(8) }, "refused"],
  [
    "Finish with cancelled has ended the incoming domain",
    { finish: "destroyed", seen: running(8) },
    "refused",
  ],
  ["Finish was answered with the domain", { finish: "arrived", seen: silent }, "taken"],
  [
    "Prepare was refused, and a guest of that uuid runs there",
    { prepare: "refused", finish: "unsent", seen: running(7) },
    "refused",
  ],
  ["Prepare was never sent", { prepare: "unsent", finish: "unsent", seen: running(7) }, "refused"],
  ["Prepare had no answer, and Finish was not sent", { prepare: "unanswered", finish: "unsent" }, "refused"],
  [
    "a switchoverd refused by id, and a guest of that uuid runs",
    { peer: settled("refused"), seen: running(7) },
    "refused",
  ],
  ["a switchoverd took by id, and the guest has ended since", { peer: settled("taken") }, "taken"],
  [
    "a switchoverd that does not answer by id, and a guest runs there",
    { peer: settled(null), seen: running(7) },
    "unknown",
  ],
  [
    "the same without Finish: a source that is dead makes it run the guest",
    { peer: settled(null), finish: "unsent" },
    "unknown",
  ],
  [
    "a switchoverd took by id in post-copy, and it runs",
    { peer: settled("taken"), postcopy: true, seen: running(3) },
    "taken",
  ],
  [
    "the same, and it has lost its memory",
    { peer: settled("taken"), postcopy: true, seen: shown(3, "postcopyFailed") },
    "lost",
  ],
  ["the same, and it is gone", { peer: settled("taken"), postcopy: true }, "lost"],
  [
    "the same, and its fate is not reported",
    { peer: settled("taken"), postcopy: true, seen: silent },
    "unknown",
  ],
];

describe("the conclusion about a guest that was sent to another host", () => {
  test.each(table)("%s", (_, evidence, conclusion) => {
    expect(conclude({ ...lostAnswer, ...evidence })).toBe(conclusion);
  });
});
