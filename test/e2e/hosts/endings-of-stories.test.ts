// Checks how stories end that a restarted host does not resume, and how it answers about them: each is read once, and a
// named move always gets an answer. Checks G1 and G3 over state on disk, with the daemon in this process.

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { bitsOf } from "../../../src/drivers/libvirt/client/flags.js";
import { remote } from "../../../src/drivers/libvirt/rpc/procedures.js";
import { decisions, moveEnds, own } from "../../../src/drivers/libvirt/rpc/switchover-program.js";
import type { JournalRecord } from "../../../src/effects/ports.js";
import type { Side } from "../../../src/protocol/steps.js";
import { handedOver, migrationId, question } from "../../support/handed-over.js";
import { goneQemu, HostInProcess, lateQemu, muteQemu, webDom, webUuid } from "../../support/in-process.js";
import { destinationOpened, sourceOpened, stateOf } from "../../support/journal-records.js";

const timeout = 60_000;

/** The record that opens the story of one side of the guest's migration. */
function opened(side: Side): JournalRecord {
  const record = side === "destination" ? destinationOpened(migrationId) : sourceOpened(migrationId);
  if (record.kind !== "opened") throw new Error("the record does not open a story");
  const { deadlines } = record.input;
  if (side === "coordinator") return { ...record, side, input: { identity: question, deadlines } };
  return { ...record, input: { ...record.input, identity: question } } as JournalRecord;
}
const state = (side: Side, name: string) => stateOf(migrationId, side, name);

/** The guest was given up, and its record names no migration. */
async function disowned(...records: readonly JournalRecord[]): Promise<HostInProcess> {
  const host = new HostInProcess();
  await host.inJournal(async (journal) => {
    for (const record of records) await journal.append(record);
  });
  await host.record({ handle: goneQemu() });
  await host.start();
  return host;
}

const unfinishedOf = async (host: HostInProcess): Promise<number> => {
  await host.stop();
  return host.inJournal(async (journal) => (await journal.unfinished()).stories.length);
};

const move = async (host: HostInProcess) =>
  (await host.rpc()).call(own.procedures.move, {
    migrationId,
    uuid: webUuid,
    destinationUri: "qemu+unix:///system?socket=/none",
    params: [],
    flags: bitsOf(["LIVE"]),
  });

describe("the story of a guest that an operator gave up", () => {
  test.each([
    ["source", [opened("source")]],
    ["destination", [opened("destination")]],
    [
      "source, with a coordinator that has asked for Begin",
      [opened("source"), opened("coordinator"), state("coordinator", "beginning")],
    ],
  ])("is removed when nothing has begun: %s", { timeout }, async (_, records) => {
    const host = await disowned(...records);
    expect(host.said.join()).toContain("had not begun");
    expect(await move(host)).toMatchObject({ end: moveEnds.away });
    const rpc = await host.rpc();
    expect(await rpc.call(own.procedures.settle, question)).toEqual({ decision: decisions.refused });
    expect(
      readdirSync(join(host.stateDirectory, "journal")).filter((name) => name.endsWith(".journal")),
    ).toEqual([]);
    expect(await unfinishedOf(host)).toBe(0);
  });

  test.each([
    ["refused, before the decision", ["receiving"], "refused"],
    ["taken, when the guest may have run", ["taking.asking"], "taken"],
    ["taken, when it was asked for again until it was stuck", ["resuming.trying", "stuck"], "taken"],
    ["refused, when the guest was given back", ["taking.asking", "disclaiming.trying"], "refused"],
    ["refused, when its QEMU could not be ended", ["killing.trying", "killFailed"], "refused"],
  ] as const)("answers %s, and is not read at the next start", { timeout }, async (_, names, answer) => {
    const host = await disowned(opened("destination"), ...names.map((name) => state("destination", name)));
    const rpc = await host.rpc();
    expect(await rpc.call(own.procedures.settle, question)).toEqual({ decision: decisions[answer] });
    expect(await unfinishedOf(host)).toBe(0);
  });

  test("ends although its source was stuck", { timeout }, async () => {
    const host = await disowned(
      opened("source"),
      state("source", "restoring.trying"),
      state("source", "stuck"),
    );
    expect(await move(host)).toMatchObject({ end: moveEnds.lost });
    expect(await unfinishedOf(host)).toBe(0);
  });
});

describe("a named move under the id of a migration without a source on this host", () => {
  test.each([
    [
      "was refused here for good",
      [{ kind: "tombstone", migrationId, side: "destination", atMs: 1, uuid: webUuid } as const],
    ],
    ["brought the guest here", [opened("destination"), state("destination", "arrived")]],
    ["left nothing but its coordinator's end", [opened("coordinator"), state("coordinator", "ended")]],
  ])("is answered when it %s", { timeout }, async (_, records) => {
    const qemu = await lateQemu();
    await qemu.answer();
    const host = new HostInProcess();
    await host.inJournal(async (journal) => {
      for (const record of records) await journal.append(record);
    });
    await host.start();
    expect(await move(host)).toMatchObject({ end: moveEnds.away });
    await host.stop();
    await host.record({ handle: qemu.handle });
    await host.start();
    expect(await move(host)).toMatchObject({
      end: moveEnds.stayed,
      why: expect.stringContaining("use another id"),
    });
  });

  test("is answered only once an operator has ended the QEMU that the migration waits for", {
    timeout,
  }, async () => {
    const qemu = await muteQemu();
    const host = new HostInProcess();
    await handedOver(host, new HostInProcess("hostb"), qemu);
    await host.start();
    await expect(move(host)).rejects.toThrow("has not ended yet");
    await (await host.rpc()).call(remote.procedures.domainDestroy, { dom: webDom });
    expect(await move(host)).toMatchObject({ end: moveEnds.lost });
  });
});
