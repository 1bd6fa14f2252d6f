// Checks G3 and G5 where effects are bound: the journal is written first, every effect ends, and what is reported is durable.

import { describe, expect, test } from "vitest";
import { systemClock } from "../../../src/drivers/platform/clock.js";
import { openDestination, openSource } from "../../../src/effects/actors.js";
import { localDestination, localSource } from "../../../src/effects/in-process-peers.js";
import type {
  DestinationFact,
  DestinationGuest,
  JournalRecord,
  SettlingPeer,
  SourceGuest,
} from "../../../src/effects/ports.js";
import { stateName } from "../../../src/machines/shared/walk.js";
import { defaultLimits } from "../../../src/protocol/convergence/limits.js";
import { defaultDeadlines } from "../../../src/protocol/deadlines.js";
import { done, unknown } from "../../../src/protocol/effect-result.js";
import { anywhere, streamAddress } from "../../../src/protocol/peer-text.js";
import { defaultPolicy } from "../../../src/protocol/unreachable-policy.js";
import { guest, identity } from "../../support/one-guest.js";

/** A journal whose records become durable, or fail, when the test says so. */
function heldJournal() {
  const held: { record: JournalRecord; resolve: () => void; reject: (error: Error) => void }[] = [];
  return {
    held,
    append: (record: JournalRecord) =>
      new Promise<void>((resolve, reject) => held.push({ record, resolve, reject })),
    /** Releases records until none is held. */
    release: async () => {
      for (await turns(); held.length > 0; ) {
        for (const waiting of held.splice(0)) waiting.resolve();
        await turns();
      }
    },
  };
}
const turns = () => new Promise<void>((resolve) => setTimeout(resolve, 5));

/** Completes every effect at once, and records its name. */
function obedient<Port extends object>(names: string[], watch: (tell: (fact: never) => void) => void): Port {
  const answer = { describe: done({ guest, settings: { capabilities: {}, parameters: {} } }) };
  return new Proxy({} as Port, {
    get: (_, name: string) => {
      if (name === "watch")
        return (tell: (fact: never) => void) => {
          watch(tell);
          return () => {};
        };
      return async () => {
        names.push(name);
        return name in answer
          ? answer[name as keyof typeof answer]
          : done({ uri: streamAddress("unix:/x", anywhere), capabilities: [] });
      };
    },
  });
}

describe("the write-ahead rule (G3)", () => {
  test("no effect of a side starts before the record of its state is durable", async () => {
    const journal = heldJournal();
    const called: string[] = [];
    const source = openSource(
      { journal, clock: systemClock },
      { identity, limits: defaultLimits, deadlines: defaultDeadlines, policy: defaultPolicy },
      obedient<SourceGuest>(called, () => {}),
      {} as SettlingPeer,
      null,
    );
    source.actor.start();
    await turns();
    expect(called).toEqual([]);
    await journal.release();
    expect(called).toEqual(["describe"]);
    source.actor.send({
      type: "coordinator.performRequested",
      prepared: { uri: streamAddress("unix:/x", anywhere), capabilities: [] },
    });
    await turns();
    expect(called).toEqual(["describe"]);
    await journal.release();
    expect(called).toEqual(["describe", "start"]);
    source.actor.stop();
  });

  test("a destination does not run the guest while its decision is not durable, nor when that fails", async () => {
    const journal = heldJournal();
    const called: string[] = [];
    let tell: (fact: never) => void = () => {};
    const destination = openDestination(
      { journal, clock: systemClock },
      { identity, guest, deadlines: defaultDeadlines },
      obedient<DestinationGuest>(called, (listener) => {
        tell = listener;
      }),
      null,
    );
    destination.actor.start();
    await journal.release();
    tell({ type: "monitor.active" } as never);
    tell({ type: "monitor.completed" } as never);
    await journal.release();
    destination.actor.send({ type: "coordinator.finishRequested" });
    await turns();
    expect(called, "taking is recorded, and not durable yet").toEqual(["prepare"]);
    for (const waiting of journal.held.splice(0)) waiting.reject(new Error("the disk is full"));
    await turns();
    expect(called, "without the record there is no `cont`").not.toContain("resume");
    expect(destination.actor.getSnapshot().context.failures[0]?.message).toContain("the disk is full");
    destination.actor.stop();
  });

  test("effects that only end or undo something continue without a journal", async () => {
    const called: string[] = [];
    const broken = { append: () => Promise.reject(new Error("the disk is full")) };
    const woken = { state: "restoring", failures: [], undone: [] };
    const source = openSource(
      { journal: broken, clock: systemClock },
      {
        identity,
        limits: defaultLimits,
        deadlines: defaultDeadlines,
        policy: defaultPolicy,
        woken: {
          ...woken,
          memory: {
            guest,
            settings: null,
            earlier: null,
            prepared: null,
            limits: defaultLimits,
            postcopy: "unannounced",
            measures: [],
          },
        },
      },
      obedient<SourceGuest>(called, () => {}),
      {} as SettlingPeer,
      null,
    );
    source.actor.start();
    await turns();
    expect(called).toEqual(["restore"]);
    expect(source.actor.getSnapshot().output?.outcome).toBe("stayed");
  });

  test("an effect that never answers is unknown after its deadline, and its signal is aborted", async () => {
    let fire: (() => void) | undefined;
    const clock = {
      ...systemClock,
      setTimeout: (run: () => void, ms: number) => {
        if (ms === 5_000) fire = run;
        return systemClock.setTimeout(run, ms);
      },
    };
    let aborted = false;
    const mute: SourceGuest = {
      ...obedient<SourceGuest>([], () => {}),
      watch: () => () => {},
      describe: (signal) =>
        new Promise((resolve) =>
          signal.addEventListener("abort", () => {
            aborted = true;
            resolve(unknown("given up"));
          }),
        ),
    };
    const source = openSource(
      { journal: { append: async () => {} }, clock },
      { identity, limits: defaultLimits, deadlines: defaultDeadlines, policy: defaultPolicy },
      mute,
      {} as SettlingPeer,
      null,
    );
    source.actor.start();
    await turns();
    fire?.();
    await turns();
    expect(aborted).toBe(true);
    expect(stateName(source.actor.getSnapshot())).toBe("awaitingExit");
    source.actor.stop();
  });
});

test("an abort is reported as accepted when that is durable, and not before", async () => {
  const journal = heldJournal();
  const source = openSource(
    { journal, clock: systemClock },
    { identity, limits: defaultLimits, deadlines: defaultDeadlines, policy: defaultPolicy },
    obedient<SourceGuest>([], () => {}),
    {} as SettlingPeer,
    null,
  );
  const peer = localSource(source);
  const { signal } = new AbortController();
  source.actor.start();
  await journal.release();
  let told: unknown;
  const aborted = peer.abort(signal).then((answer) => {
    told = answer;
  });
  await turns();
  expect(source.actor.getSnapshot().value).toBe("stayed");
  expect(told).toBeUndefined();
  await journal.release();
  await aborted;
  expect(told).toMatchObject({ kind: "done", value: { accepted: true } });
});

describe("a destination in the same process", () => {
  /** It is receiving, and its guest is whole. */
  async function receiving(journal: ReturnType<typeof heldJournal>, called: string[] = []) {
    let tell: (fact: never) => void = () => {};
    const opened = openDestination(
      { journal, clock: systemClock },
      { identity, guest, deadlines: defaultDeadlines },
      obedient<DestinationGuest>(called, (listener) => {
        tell = listener;
      }),
      null,
    );
    opened.actor.start();
    await journal.release();
    return { ...opened, tell: (type: DestinationFact["type"]) => tell({ type } as never) };
  }
  const { signal } = new AbortController();

  test.each([
    ["that the guest has arrived", false, "arrived"],
    ["that the guest was refused", true, "refused"],
  ])("says %s when that is durable, and not before", async (_, cancelled, outcome) => {
    const journal = heldJournal();
    const destination = await receiving(journal);
    destination.tell("monitor.active");
    destination.tell("monitor.completed");
    await journal.release();
    let told: unknown;
    const finished = localDestination(destination)
      .finish({ cancelled }, signal)
      .then((answer) => {
        told = answer;
      });
    // Each record but the last becomes durable.
    for (await turns(); destination.actor.getSnapshot().status === "active"; await turns())
      for (const { resolve } of journal.held.splice(0)) resolve();
    expect(destination.actor.getSnapshot().output?.outcome).toBe(outcome);
    expect(told).toBeUndefined();
    await journal.release();
    await finished;
    expect(told).toMatchObject({ kind: "done", value: { outcome } });
  });

  test("refuses a guest that an operator destroys, even after post-copy was announced", async () => {
    for (const announced of [false, true]) {
      const journal = heldJournal();
      const called: string[] = [];
      const destination = await receiving(journal, called);
      destination.tell("monitor.active");
      if (announced) destination.actor.send({ type: "source.announced" });
      await journal.release();
      expect(stateName(destination.actor.getSnapshot())).toBe(announced ? "receivingPostcopy" : "receiving");
      destination.actor.send({ type: "operator.destroyed" });
      await journal.release();
      expect(called).toEqual(["prepare", "kill"]);
      expect(destination.actor.getSnapshot().output?.outcome).toBe("refused");
    }
  });
});
