// Bounds the length of a side's story while it retries: an operator may be away for weeks, so the number of attempts must not
// matter. Also checks that everything that a restarted engine needs is still written (G3).

import { describe, expect, test } from "vitest";
import { systemClock } from "../../../src/drivers/platform/clock.js";
import { openCoordinator, openDestination, openSource } from "../../../src/effects/actors.js";
import type {
  Clock,
  DestinationGuest,
  DestinationPeer,
  JournalRecord,
  SettlingPeer,
  SourceGuest,
  SourcePeer,
} from "../../../src/effects/ports.js";
import type { DestinationMemory } from "../../../src/machines/destination/machine.js";
import { destinationMachine } from "../../../src/machines/destination/machine.js";
import { placeOf } from "../../../src/machines/shared/states.js";
import { namedStatesOf, nameOf, stateName } from "../../../src/machines/shared/walk.js";
import { sourceMachine } from "../../../src/machines/source/machine.js";
import { defaultLimits } from "../../../src/protocol/convergence/limits.js";
import { defaultDeadlines } from "../../../src/protocol/deadlines.js";
import { type Answer, done, failed, unknown } from "../../../src/protocol/effect-result.js";
import { anywhere, streamAddress } from "../../../src/protocol/peer-text.js";
import { guest, identity } from "../../support/one-guest.js";

const fencedGuest = { ...guest, fencingToken: "t-1" };
const prepared = { uri: streamAddress("unix:/x", anywhere), capabilities: [] };
const deadlines = { ...defaultDeadlines, backoffMs: 1, maxBackoffMs: 2, reconnectMs: 2 };
const policy = { whenUnreachable: "fence", patienceMs: 600_000 } as const;
const many = 200;
/** More than any side writes while it retries, and far less than one record for each attempt. */
const few = 25;
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** Delays between attempts take no time, and deadlines that are never exceeded do not pass. */
const hasty: Clock = {
  now: systemClock.now,
  setTimeout: (run, ms) => (ms <= 2 ? setImmediate(run) : null),
  clearTimeout: (handle) => {
    if (handle !== null) clearImmediate(handle as NodeJS.Immediate);
  },
};

/** Every call is answered with the result of `answer`. */
function answering<Port extends object>(answer: (name: string) => Answer<unknown>): Port {
  return new Proxy({} as Port, {
    get: (_, name: string) => (name === "watch" ? () => () => {} : async () => answer(name)),
  });
}

/** The answers of a host that is tried again, each time the same, or in turns. */
const answersOf: Record<string, (name: string, attempt: number) => Answer<unknown>> = {
  nothing: () => unknown("no answer"),
  failures: () => failed("it does not work"),
  "that it cannot say": (name) =>
    ["settle", "concede", "handOver"].includes(name) ? done("undecidable") : unknown("no answer"),
  "that it cannot say, and nothing, in turns": (name, attempt) =>
    attempt % 2 === 0 && ["settle", "concede", "handOver"].includes(name)
      ? done("undecidable")
      : unknown("no answer"),
  "where to connect to, for nothing": (name) => {
    if (name === "reconnect") return done({ uri: prepared.uri });
    return name === "resumePostcopy" ? done("connecting") : unknown("no answer");
  },
};

function counting(answer: (name: string, attempt: number) => Answer<unknown>) {
  const records: JournalRecord[] = [];
  const calls: string[] = [];
  return {
    records,
    calls,
    answer: (name: string) => answer(name, calls.push(name)),
    surroundings: {
      clock: hasty,
      journal: {
        append: async (record: JournalRecord) => {
          records.push(record);
        },
      },
    },
    /** Waits until so many attempts have been made, or no more follow. */
    attempts: async () => {
      for (let idle = 0; calls.length < many && idle < 50; ) {
        const before = calls.length;
        await turn();
        idle = calls.length === before ? idle + 1 : 0;
      }
    },
  };
}
type Counting = ReturnType<typeof counting>;

const sourceMemory = {
  guest: fencedGuest,
  settings: null,
  earlier: null,
  prepared,
  limits: defaultLimits,
  postcopy: "announced",
  measures: [],
} as const;

function sourceIn(state: string, { surroundings, answer }: Counting) {
  const fence = answering<NonNullable<Parameters<typeof openSource>[0]["fence"]>>(answer);
  const woken = { state, failures: [], undone: [], memory: sourceMemory };
  return openSource(
    { ...surroundings, fence },
    { identity, limits: defaultLimits, deadlines, policy, woken },
    answering<SourceGuest>(answer),
    answering<SettlingPeer>(answer),
    null,
  ).actor;
}

function destinationIn(state: string, { surroundings, answer }: Counting) {
  const fence = answering<NonNullable<Parameters<typeof openDestination>[0]["fence"]>>(answer);
  const memory: DestinationMemory = { prepared, memory: "partly", postcopy: "announced" };
  const woken = { state, failures: [], undone: [], memory };
  return openDestination(
    { ...surroundings, fence },
    { identity, guest: fencedGuest, deadlines, woken },
    answering<DestinationGuest>(answer),
    null,
  ).actor;
}

type Side = "source" | "destination";
const states: Record<Side, string[]> = {
  source: namedStatesOf(sourceMachine).map(nameOf),
  destination: namedStatesOf(destinationMachine).map(nameOf),
};
const actorIn = { source: sourceIn, destination: destinationIn };

/** The state of the last record, and that of the machine. */
function lastState(records: readonly JournalRecord[]): string {
  const last = records.findLast((record) => record.kind === "state");
  if (last?.kind !== "state") throw new Error("no state was recorded");
  return last.state;
}

describe.each(["source", "destination"] as const)("the story of a %s", (side) => {
  test.each(Object.entries(answersOf))(
    "does not grow with each attempt that is answered with %s",
    async (_, answer) => {
      const lengths = await Promise.all(
        states[side].map(async (state) => {
          const story = counting(answer);
          const actor = actorIn[side](state, story);
          actor.start();
          await story.attempts();
          const now = stateName(actor.getSnapshot());
          actor.stop();
          expect(placeOf(side, lastState(story.records)), "a restarted engine goes on there").toBe(
            placeOf(side, now),
          );
          return { state, attempts: story.calls.length, records: story.records.length };
        }),
      );
      expect(lengths.filter(({ records }) => records >= few)).toEqual([]);
      if (side === "source") expect(lengths.some(({ attempts }) => attempts >= many)).toBe(true);
    },
  );

  test("does not grow with each query without an answer", async () => {
    const lengths = await Promise.all(
      states[side].map(async (state) => {
        const story = counting(() => unknown("no answer"));
        const actor = actorIn[side](state, story);
        actor.start();
        await turn();
        for (let count = 0; count < many && actor.getSnapshot().status === "active"; count += 1) {
          if (side === "source") {
            actor.send({ type: "operator.aborted" } as never);
            actor.send({ type: "coordinator.confirmCancelledRequested" } as never);
          } else {
            actor.send({ type: "source.settleRequested" } as never);
            actor.send({ type: "coordinator.finishRequested" } as never);
          }
          await turn();
        }
        actor.stop();
        return { state, records: story.records.length };
      }),
    );
    expect(lengths.filter(({ records }) => records >= 2 * few)).toEqual([]);
  });
});

test("a source records that its destination cannot tell who runs the guest, and keeps asking after a restart", async () => {
  const story = counting((name) => (name === "settle" ? done("undecidable") : unknown("no answer")));
  const actor = sourceIn("handedOver", story);
  actor.start();
  actor.send({ type: "coordinator.confirmCancelledRequested" });
  await story.attempts();
  actor.stop();
  const written = story.records.flatMap((record) => (record.kind === "state" ? [record.state] : []));
  expect(written).toEqual(["handedOver", "settling.asking", "settling.undecided"]);
  const later = counting((name) => done(name === "settle" ? "refused" : null));
  const next = sourceIn(lastState(story.records), later);
  next.start();
  await later.attempts();
  expect(later.calls[0]).toBe("settle");
  expect(next.getSnapshot().output?.outcome).toBe("stayed");
  expect(later.records.map((record) => (record.kind === "state" ? record.state : record.kind))).toEqual([
    "settling.asking",
    "restoring.trying",
    "retractingPostcopy.asking",
    "stayed",
  ]);
});

test("states after new information are written again, so that the story ends in the current state", async () => {
  const story = counting((name) => done(name === "probe" ? "sending" : null));
  const actor = sourceIn("precopying", story);
  actor.start();
  await story.attempts();
  for (const bandwidthMiBps of [100, 200, 300]) {
    actor.send({ type: "operator.tuned", limits: { bandwidthMiBps } });
    await story.attempts();
    expect(lastState(story.records)).toBe(stateName(actor.getSnapshot()));
    expect(lastState(story.records)).toContain("limits.applied");
  }
  const learned = story.records.flatMap((record) =>
    record.kind === "state" && record.learned.limits ? [record.learned.limits.bandwidthMiBps] : [],
  );
  expect(learned).toEqual([100, 200, 300]);
  actor.stop();
});

test("information that a side learns while it retries is written, however often the state was written before", async () => {
  const settling = counting(() => unknown("no answer"));
  const asked = sourceIn("settling", settling);
  asked.start();
  await settling.attempts();
  asked.send({ type: "operator.adopted" });
  await turn();
  const restoring = settling.records.find(
    (record) => record.kind === "state" && record.state.startsWith("restoring"),
  );
  expect(restoring).toMatchObject({ because: [{ message: expect.stringContaining("an operator adopted") }] });
  asked.stop();
});

test("a coordinator records that an abort is no longer under way: a restart does not abort again", async () => {
  const story = counting((name) => unknown(name));
  const answers = { aborts: 0 };
  const source: SourcePeer = {
    ...answering<SourcePeer>(story.answer),
    begin: async () => done(guest),
    perform: () => new Promise(() => {}),
    abort: async () => {
      answers.aborts += 1;
      return answers.aborts % many === 0 ? done({ accepted: false, why: "too late" }) : unknown("no answer");
    },
  };
  const destination: DestinationPeer = {
    ...answering<DestinationPeer>(story.answer),
    prepare: async () => done(prepared),
  };
  const actor = openCoordinator(story.surroundings, { identity, deadlines }, source, destination);
  actor.start();
  const isMoving = () => stateName(actor.getSnapshot()) === "performing.moving";
  while (!isMoving()) await turn();
  for (let abort = 0; abort < 2; abort += 1) {
    actor.send({ type: "operator.aborted" });
    while (!isMoving()) await turn();
    expect(lastState(story.records)).toBe("performing.moving");
  }
  expect(answers.aborts).toBe(2 * many);
  expect(story.records.length).toBeLessThan(few);
  actor.stop();
});
