// Models the effects of the two sides in the simulated world: their impact on the QEMUs and the fence, and their answers.

import { type Answer, done, failed, nothing, unknown } from "../protocol/effect-result.js";
import {
  type DestinationFound,
  type Ended,
  type GuestDescription,
  ownEnd,
  type SourceFound,
} from "../protocol/messages.js";
import { anywhere, streamAddress } from "../protocol/peer-text.js";
import { room } from "./memo.js";
import {
  breaks,
  dies,
  endedAs,
  follows,
  givesUp,
  goesOn,
  goesStale,
  hasDevices,
  isInPostcopy,
  isPartly,
  type SimulatedDestination,
  type SimulatedSource,
  withDestination,
  withSource,
} from "./qemus.js";

/** The state outside of the machines, which their effects change. */
export interface Outside {
  readonly qemuS: SimulatedSource;
  readonly qemuD: SimulatedDestination;
  readonly fence: (typeof fences)[number];
}

/** A number that identifies the outside state. */
export const outsideKey = ({ qemuS, qemuD, fence }: Outside): number =>
  qemuS.id + room * (qemuD.id + room * fences.indexOf(fence));
/** The guest's offer at the fence, if there is one. `gone`: it can no longer be claimed. */
export const fences = ["none", "offered", "claimed", "gone"] as const;

export const identity = { migrationId: "m-1", uuid: "u-1", name: "guest" };
const description = {
  uuid: "u-1",
  guestWas: "running" as const,
  qemuVersion: "7.2",
  memoryBytes: 1,
  capabilities: [],
  disks: [],
  fencingToken: null,
};
/** Returns the source's description of its guest in a world with these options. */
export const describedAs = (storage: boolean, fenced: boolean): GuestDescription => ({
  ...description,
  disks: storage ? [{ name: "one", capacityBytes: 1 }] : [],
  fencingToken: fenced ? "t-1" : null,
});
const nowhere = streamAddress("unix:/nowhere", anywhere);
export const preparedAt = { uri: nowhere, capabilities: [], storage: nowhere };

interface Done {
  readonly change: Partial<Outside>;
  /** Null: there is no direct answer; an event reports the result, or the deadline passes. */
  readonly answer: Answer<unknown> | null;
  /** The guarantee that running an incomplete or outdated guest violates. */
  readonly harm?: string;
}

/** This QEMU was itself the destination of a migration, and reports the end of that one until another has started. */
const earlier = "completed before";

/** Returns the possible results of an effect with this input. */
export function carryOut(effect: string, outside: Outside, input: unknown): Done {
  const { qemuS, qemuD, fence } = outside;
  const only = (answer: Answer<unknown> | null): Done => ({ change: {}, answer });
  switch (effect) {
    case "describe": {
      const settings = { capabilities: {}, parameters: {} };
      const guest = describedAs(qemuS.disks !== "shared", fence !== "none");
      return only(qemuS.alive ? done({ guest, settings, earlier }) : unknown("QEMU is dead"));
    }
    case "probeSource":
      return only(qemuS.alive ? done(foundAt(qemuS, knownEarlier(input))) : null);
    case "mirror":
      if (!qemuS.alive || !qemuD.alive) return only(failed("cannot connect"));
      return {
        change: {
          qemuS: qemuS.disks === "following" ? follows(qemuS) : withSource(qemuS, { disks: "copying" }),
        },
        answer: nothing,
      };
    case "completeMirrors":
      if (!qemuS.alive || qemuS.disks !== "following") return only(failed("a disk mirror has ended"));
      return { change: { qemuS: withSource(qemuS, { disks: "ended" }) }, answer: nothing };
    case "cancelMirrors":
      if (!qemuS.alive) return only(unknown("QEMU is dead"));
      return { change: { qemuS: withSource(qemuS, { disks: "alone" }) }, answer: nothing };
    case "start":
      if (!qemuS.alive || !qemuD.alive || qemuD.stream !== "listening") return only(failed("cannot connect"));
      return {
        change: {
          qemuS: withSource(qemuS, { migration: "active" }),
          qemuD: withDestination(qemuD, {
            stream: "active",
            facts: [...qemuD.facts, { type: "monitor.active" }],
          }),
        },
        answer: nothing,
      };
    case "suspend":
      // A QEMU that has stopped the guest itself accepts `stop` without effect.
      if (!qemuS.alive) return only(unknown("QEMU is dead"));
      if (qemuS.cpu === "stopped") return only(nothing);
      return { change: { qemuS: withSource(qemuS, { cpu: "stopped", suspended: true }) }, answer: nothing };
    case "continue":
      if (!qemuS.alive || qemuS.migration !== "preSwitchover") return only(failed("not in pre-switchover"));
      return {
        change: {
          qemuS: withSource(qemuS, { migration: qemuS.postcopyRequested ? "toPostcopy" : "device" }),
        },
        answer: nothing,
      };
    case "startPostcopy":
      if (!qemuS.alive || qemuS.migration !== "active") return only(failed("no migration in progress"));
      return { change: { qemuS: withSource(qemuS, { postcopyRequested: true }) }, answer: nothing };
    case "pausePostcopy":
      if (qemuS.facts.length > 0) return only(null);
      if (!qemuS.alive || qemuS.migration !== "postcopy") return only(failed("not in post-copy"));
      return { change: { qemuS: breaks.source(qemuS), qemuD: breaks.destination(qemuD) }, answer: nothing };
    case "listenAgain":
      // The answer arrives after earlier events.
      if (!qemuD.alive || qemuD.facts.length > 0) return only(null);
      // A QEMU that has not detected the loss of its connection abandons it first; a late request costs a working connection.
      if (qemuD.stream === "partly")
        return {
          change: {
            qemuD: withDestination(breaks.destination(qemuD), { stream: "partlyListening" }),
            ...(qemuS.alive && qemuS.migration === "postcopy" && { qemuS: breaks.source(qemuS) }),
          },
          answer: done({ uri: nowhere }),
        };
      if (qemuD.stream !== "partlyBroken" && qemuD.stream !== "partlyListening")
        return only(failed("not in post-copy"));
      return {
        change: { qemuD: withDestination(qemuD, { stream: "partlyListening" }) },
        answer: done({ uri: nowhere }),
      };
    case "resumePostcopy":
      if (qemuS.facts.length > 0) return only(null);
      if (qemuS.alive && qemuS.migration === "hung") return only(done("held"));
      if (!qemuS.alive || qemuS.migration !== "broken") return only(failed("not resumable"));
      if (!qemuD.alive || qemuD.stream !== "partlyListening")
        return { change: { qemuS: breaks.source(qemuS) }, answer: done("connecting") };
      return { change: { qemuS: isInPostcopy(qemuS), qemuD: hasDevices(qemuD) }, answer: done("connecting") };
    case "cancel":
    case "forceCancel": {
      if (!qemuS.alive) return only(unknown("QEMU is dead"));
      const ended = endHeard(qemuS, knownEarlier(input));
      if (ended !== undefined) return only(done(ended));
      if (qemuS.migration === "broken" || qemuS.migration === "hung") return only(done("broken"));
      // A cancel may hang and complete later; a rescue unblocks it.
      if (effect === "cancel")
        return {
          change: { qemuS: withSource(qemuS, { migration: "cancelling" }) },
          answer: unknown("still cancelling"),
        };
      return {
        change: { qemuS: givesUp(qemuS, "cancelled"), qemuD: staleWhenRunning(qemuD, qemuS) },
        answer: done("cancelled"),
      };
    }
    case "restore":
      if (!qemuS.alive || endedAs(qemuS) === undefined) return only(unknown("not restored"));
      // QEMU's destination takes the locks of the disks as it loads the devices, before anything is decided.
      if (qemuS.cpu === "stopped" && qemuD.alive && isPartly(qemuD))
        return only(awaitsDisks(input) ? null : failed('Failed to get shared "write" lock'));
      return {
        change: { qemuS: withSource(qemuS, { cpu: "running", suspended: false }), qemuD: goesStale(qemuD) },
        answer: nothing,
      };
    case "killSource":
      return {
        change: { qemuS: dies.source(qemuS), fence: fence === "none" ? "none" : "gone" },
        answer: nothing,
      };
    case "fence":
      if (fence === "claimed") return only(failed("the destination has claimed the guest"));
      return { change: { fence: "gone" }, answer: nothing };
    case "prepare":
      if (qemuD.stream !== "none") return only(qemuD.alive ? done(preparedAt) : failed("QEMU is dead"));
      return {
        change: { qemuD: withDestination(qemuD, { alive: true, stream: "listening" }) },
        answer: done(preparedAt),
      };
    case "probeDestination":
      return only(qemuD.alive ? done(foundIn(qemuD)) : null);
    case "claim":
      if (fence === "gone") return only(failed("the guest is no longer offered"));
      return { change: { fence: "claimed" }, answer: nothing };
    case "disclaim":
      return { change: { fence: "gone" }, answer: nothing };
    case "take":
    case "resume":
      // A dead QEMU does not answer earlier requests; its death is reported before the sixth attempt.
      if (!qemuD.alive) return only(effect === "take" ? failed("QEMU is dead: `cont` was not sent") : null);
      return {
        change: {
          qemuD: withDestination(qemuD, {
            cpu: "running",
            everRan: true,
            facts: [...qemuD.facts, { type: "monitor.resumed" }],
          }),
        },
        answer: nothing,
        ...(!disksAreWhole(qemuS) && { harm: "G4: a guest runs although its disks are incomplete there" }),
        ...(qemuD.stream === "stale" && { harm: "G4: an outdated copy of a guest runs" }),
        ...(qemuD.stream !== "stale" &&
          qemuD.stream !== "whole" &&
          !isPartly(qemuD) && { harm: "G4: an incomplete guest runs" }),
      };
    case "killDestination":
      return { change: { qemuD: dies.destination(qemuD) }, answer: nothing };
    default:
      return only(nothing);
  }
}

const disksAreWhole = ({ disks }: SimulatedSource): boolean => disks === "shared" || disks === "ended";

const staleWhenRunning = (qemuD: SimulatedDestination, qemuS: SimulatedSource) =>
  goesOn(qemuS) ? goesStale(qemuD) : qemuD;

const awaitsDisks = (input: unknown): boolean =>
  typeof input === "object" && input !== null && "awaitsDisks" in input && input.awaitsDisks === true;

/** Returns what the machine knows of the previous migration. */
const knownEarlier = (input: unknown): string | null =>
  typeof input === "object" && input !== null && "earlier" in input && input.earlier === earlier
    ? earlier
    : null;

/** Returns the source's finding, as the driver derives it from QEMU's answer. */
function endHeard(simulatedSource: SimulatedSource, known: string | null): Ended | undefined {
  const ended = endedAs(simulatedSource);
  if (ended === undefined) return undefined;
  return ended === "none"
    ? ownEnd({ ended: "completed", mark: earlier }, known)
    : ownEnd({ ended, mark: `${ended} now` }, known);
}

function foundAt(simulatedSource: SimulatedSource, known: string | null): SourceFound {
  const { migration, cpu } = simulatedSource;
  const ended = endHeard(simulatedSource, known);
  if (ended !== undefined) return ended;
  if (migration === "active") return "sending";
  if (migration === "hung") return "postcopy";
  if (migration === "toPostcopy") return "stopped";
  return migration === "device" && cpu === "stopped" ? "stopped" : (migration as SourceFound);
}

function foundIn({ stream, cpu }: SimulatedDestination): DestinationFound {
  if (cpu === "running") {
    if (stream === "partly") return "runsPartly";
    return stream.startsWith("partly") ? "runsBroken" : "runs";
  }
  if (stream.startsWith("partly")) return "partly";
  if (stream === "listening") return "listening";
  return stream === "active" ? "receiving" : "received";
}
