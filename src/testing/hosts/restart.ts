// A daemon of the host world that dies, with or without its memory, and one that comes up again and finds what is left:
// src/daemon/migrations.ts (`recover`) and src/daemon/domain-recovery.ts by the same rules, as one move.

import type { Found } from "../../machines/domain/context.js";
import type { Change, Read, Rule, WorldMove } from "../components.js";
import type { DomainStanding } from "./domain-species.js";
import { fateOf, isUp } from "./host-moves.js";
import {
  type Asking,
  decisionIn,
  destination,
  destinationAs,
  destinationIsOpen,
  forgotten,
  type HostParts,
  type MigrationParts,
  machineOf,
  type Presence,
  presence,
  type Qemu,
  qemu,
  runs,
  source,
  sourceIsOpen,
} from "./parts.js";
import { calm, fault, hostName, type Surroundings } from "./surroundings.js";

/** A migration that this host is a side of. */
interface Story {
  readonly id: number;
  readonly parts: MigrationParts;
  readonly to: number;
}

function storiesOf({ migrations, parts }: Surroundings, host: number) {
  const stories = migrations.flatMap(({ from, to }, id): (Story & { out: boolean })[] => {
    const of = parts.migrations[id];
    if (of === undefined || (from !== host && to !== host)) return [];
    return [{ id, parts: of, to, out: from === host }];
  });
  return { outgoing: stories.filter(({ out }) => out), incoming: stories.filter(({ out }) => !out) };
}

export function restartRules(surroundings: Surroundings, host: number): Rule[] {
  const here = surroundings.parts.hosts[host];
  if (here === undefined) throw new RangeError(`there is no host ${host}`);
  return [
    deaths(surroundings, host, here),
    qemuDeaths(surroundings, host, here),
    wakes(surroundings, host, here),
    answersAgain(surroundings, host, here),
  ];
}

const unasked: Readonly<Record<Asking, Asking>> = {
  nothing: "nothing",
  asked: "late",
  late: "late",
  granting: "lateGranting",
  lateGranting: "lateGranting",
  granted: "nothing",
  reclaiming: "nothing",
};

/** Whether it may have been the only copy that could go on. */
const isOnly = ({ is, of }: Qemu, fate: (of: number) => string): boolean =>
  is === "absent" || is === "incoming" ? false : is === "sent" ? of !== null && fate(of) === "open" : true;

/** A copy that the source still has is not the only one. */
const mayBeOnly = (read: Read, { parts }: Surroundings, here: HostParts): boolean => {
  const now = read(here.qemu);
  if (now.is === "complete" && now.of !== null && read(fateOf(parts, now.of)) === "open") return false;
  return isOnly(now, (of) => read(fateOf(parts, of)));
};

function deaths(surroundings: Surroundings, host: number, here: HostParts): Rule {
  const { parts } = surroundings;
  const { incoming, outgoing } = storiesOf(surroundings, host);
  const name = hostName(host);
  const others = parts.hosts.filter((other) => other !== here);
  const down: Change[] = [
    here.machine.becomes(null),
    here.waiting.becomes("nothing"),
    here.asking.changes("unasked", (ask) => unasked[ask]),
    here.qemu.changes("up", (now) => (now.is === "booting" ? qemu("running", null, now.mute) : now)),
    ...others.map((other) =>
      other.asking.changes("unanswered", (ask) =>
        ask === "granting" || ask === "lateGranting" ? "nothing" : ask,
      ),
    ),
    ...incoming.map(({ parts: { destination: there } }) =>
      there.changes("unreserved", (now) => (now.is === "reserving" ? destinationAs(now, "none") : now)),
    ),
  ];
  const journalLost: Change[] = [
    parts.damaged.becomes(true),
    ...outgoing.map((story) => story.parts.source.changes("lost", () => source("none"))),
    ...incoming.map((story) =>
      story.parts.destination.changes("lost", ({ is, unreadable, otherJournal }) =>
        destination("none", { otherJournal: otherJournal || unreadable || is !== "none" }),
      ),
    ),
    here.presence.changes("forgotten", forgotten),
  ];
  return {
    faultsOnly: true,
    reads: [
      here.machine,
      here.qemu,
      here.orphan,
      ...outgoing.map((story) => story.parts.source),
      ...incoming.map((story) => story.parts.destination),
      ...parts.migrations.map(({ fate }) => fate),
    ],
    moves: (read) => {
      if (!isUp(read, here)) return [];
      const now = read(here.qemu);
      const is = now.is === "booting" ? "running" : now.is;
      const moves: WorldMove[] = [
        fault(`the daemon of ${name} dies`, down),
        fault(`the daemon of ${name} dies and loses its journal`, [...down, ...journalLost]),
        fault(`the daemon of ${name} dies and loses all its state`, [
          ...down,
          ...journalLost,
          here.presence.becomes(presence("none")),
          here.away.becomes(null),
          here.defined.becomes(false),
          here.qemu.becomes(qemu("absent")),
          ...(is === "absent" ? [] : [here.orphan.becomes(is === "running" ? "running" : "still")]),
        ]),
        fault(`host ${name} reboots`, [
          ...down,
          here.qemu.becomes(qemu("absent")),
          here.orphan.becomes("none"),
          ...(mayBeOnly(read, surroundings, here) || read(here.orphan) !== "none"
            ? [parts.ended.becomes(true)]
            : []),
        ]),
      ];
      const mute = here.qemu.becomes(qemu(is, now.of, true));
      if (is !== "absent")
        moves.push(fault(`the daemon of ${name} dies and its QEMU is mute`, [...down, mute]));
      const unreadable = (story: number, change: Change) => {
        moves.push(
          fault(`the daemon of ${name} dies, the story of migration ${story} is damaged`, [
            ...down,
            change,
            parts.damaged.becomes(true),
          ]),
        );
        if (is !== "absent")
          moves.push(
            fault(`the daemon of ${name} dies, story ${story} is damaged and QEMU is mute`, [
              ...down,
              change,
              mute,
              parts.damaged.becomes(true),
            ]),
          );
      };
      for (const { id, parts: of } of outgoing)
        if (read(of.source).is !== "none") unreadable(id, of.source.becomes(source("none", true)));
      for (const { id, parts: of } of incoming) {
        const there = read(of.destination);
        if (there.is !== "none" && there.is !== "reserving")
          unreadable(id, of.destination.becomes(destination("none", { ...there, unreadable: true })));
      }
      return moves;
    },
  };
}

function qemuDeaths(surroundings: Surroundings, host: number, here: HostParts): Rule {
  const { parts } = surroundings;
  return {
    faultsOnly: true,
    reads: [here.qemu, here.orphan, ...parts.migrations.map(({ fate }) => fate)],
    moves: (read) => {
      const moves: WorldMove[] = [];
      if (read(here.qemu).is !== "absent")
        moves.push(
          fault(`the QEMU of ${hostName(host)} dies`, [
            here.qemu.becomes(qemu("absent")),
            ...(mayBeOnly(read, surroundings, here) ? [parts.ended.becomes(true)] : []),
          ]),
        );
      if (read(here.orphan) !== "none")
        moves.push(
          fault(`the QEMU that ${hostName(host)} has forgotten dies`, [
            here.orphan.becomes("none"),
            parts.ended.becomes(true),
          ]),
        );
      return moves;
    },
  };
}

const unknown: Found = { left: "unknown", why: "" };
const unresolved: Found = { left: "unknown", why: "", elsewhere: true };
const nothing: Found = { left: "nothing" };
const foundOf = (now: Qemu): Found =>
  now.is === "absent" ? nothing : { left: runs(now) ? "running" : "paused" };

function wakes(surroundings: Surroundings, host: number, here: HostParts): Rule {
  const { incoming, outgoing } = storiesOf(surroundings, host);
  return {
    reads: [
      here.machine,
      here.qemu,
      here.presence,
      here.away,
      here.defined,
      ...outgoing.map((story) => story.parts.source),
      ...incoming.map((story) => story.parts.destination),
    ],
    moves: (read) =>
      read(here.machine) === null
        ? [
            calm(
              `the daemon of ${hostName(host)} starts`,
              woken(surroundings, here, { incoming, outgoing }, read),
            ),
          ]
        : [],
  };
}

function woken(
  { species, rules }: Surroundings,
  here: HostParts,
  { incoming, outgoing }: { incoming: readonly Story[]; outgoing: readonly Story[] },
  read: Read,
): Change[] {
  const now = read(here.qemu);
  const away = read(here.away);
  const { is, of, forgotten: isForgotten } = read(here.presence);
  const seesMute = now.mute && rules.keeps.has("a mute QEMU counts as alive");
  const changes: Change[] = [];
  let machine: DomainStanding = species.begin({ restarted: true, away: away !== null });
  const rests = () => [...changes, here.machine.becomes(machine)];
  const quarantine = (waiting: "qemu" | "story" | "nothing") => {
    machine = species.send(machine, { type: "host.examined", found: unresolved }).to;
    changes.push(here.waiting.becomes(waiting));
    return rests();
  };
  const recovered = (id: number, direction: "in" | "out") => {
    machine = species.send(machine, { type: "migration.recovered", migrationId: String(id), direction }).to;
    return rests();
  };
  const recorded = recordedIn(read(here.presence));
  const stories: readonly Side[] = [
    ...incoming.map((story) => ({ ...story, direction: "in" as const })),
    ...outgoing.map((story) => ({ ...story, direction: "out" as const })),
  ];
  let isDoubted = stories.some((side) => isUnreadable(side, read));
  let mine: Side | undefined;
  for (const side of stories.filter((one) => isOpen(one, read)).toSorted((a, b) => b.id - a.id)) {
    const migrationId = String(side.id);
    if (rules.isGoneOnWith({ migrationId, recorded, isItsQemu: false, isDoubted })) mine = side;
    else changes.push(disowned(side, read));
    isDoubted = true;
  }
  if (mine?.direction === "in") {
    const there = read(mine.parts.destination);
    if (there.is === "listening") {
      if (rules.keeps.has("an undecided migration is refused at a restart"))
        changes.push(mine.parts.destination.becomes(destinationAs(there, "refusing")));
      return recovered(mine.id, "in");
    }
    return seesMute && there.is === "taking" ? quarantine("story") : recovered(mine.id, "in");
  }
  if (mine !== undefined) return seesMute ? quarantine("story") : recovered(mine.id, "out");

  const examined = (found: Found) => {
    machine = species.send(machine, { type: "host.examined", found }).to;
    return rests();
  };
  const attached = (): Found => {
    if (now.mute && !seesMute) return nothing;
    if (now.mute) changes.push(here.waiting.becomes("qemu"));
    return now.mute ? unknown : foundOf(now);
  };
  const way = is === "in" || is === "out" ? is : "none";
  const story = [...incoming, ...outgoing].find(({ id }) => id === of);
  const arrival = story && way === "in" ? read(story.parts.destination) : undefined;
  const departure = story && way === "out" ? read(story.parts.source) : undefined;
  const own = way === "in" ? arrival : departure;
  if (is === "none") {
    const damage =
      incoming.some(({ parts }) => read(parts.destination).unreadable) ||
      outgoing.some(({ parts }) => read(parts.source).unreadable);
    return damage ? quarantine("nothing") : examined(nothing);
  }
  const end = departure?.is;
  const does = rules.atRestart({
    way,
    isForgotten,
    isUnreadable: way !== "none" && own?.unreadable === true,
    decided: way === "in" && arrival !== undefined ? decisionIn(arrival) : null,
    sourceEnd: way === "out" && (end === "left" || end === "stayed" || end === "lost") ? end : null,
  });
  switch (does) {
    case "attach":
      if (way === "in") changes.push(here.defined.becomes(true));
      return examined(attached());
    case "quarantine":
      return quarantine(
        now.mute && !rules.keeps.has("a mute QEMU that answers again frees only an ordinary guest")
          ? "qemu"
          : "nothing",
      );
    case "end":
      changes.push(here.qemu.becomes(qemu("absent")));
      return examined(nothing);
    case "endAway":
      changes.push(here.qemu.becomes(qemu("absent")));
      if (!read(here.defined)) return examined(nothing);
      if (away === null) changes.push(here.away.becomes(story?.to ?? -1));
      return examined({ left: "away" });
    case "takenIfRunning":
      if (now.mute || !runs(now) || story === undefined || arrival === undefined)
        return quarantine("nothing");
      changes.push(story.parts.destination.becomes(destinationAs(arrival, "arrived")));
      return examined(foundOf(now));
  }
}

type Side = Story & { readonly direction: "in" | "out" };
const isOpen = ({ direction, parts }: Side, read: Read): boolean =>
  direction === "in" ? destinationIsOpen(read(parts.destination)) : sourceIsOpen(read(parts.source));
const isUnreadable = ({ direction, parts }: Side, read: Read): boolean =>
  direction === "in" ? read(parts.destination).unreadable : read(parts.source).unreadable;

/** The migration that the record of a guest names; null when it names none; undefined when there is no record. */
const recordedIn = ({ is, of }: Presence): string | null | undefined =>
  is === "none" ? undefined : is === "in" || is === "out" ? String(of) : null;

/** A story that does not own its guest any more is ended. What it has decided stands. */
function disowned({ direction, parts }: Side, read: Read): Change {
  if (direction === "out") return parts.source.becomes(source("lost"));
  const there = read(parts.destination);
  return parts.destination.becomes(destinationAs(there, decisionIn(there) === "taken" ? "lost" : "refused"));
}

/** A mute QEMU answers, or is gone; what waited for that goes on. */
function answersAgain(surroundings: Surroundings, host: number, here: HostParts): Rule {
  const { species, rules } = surroundings;
  const { incoming, outgoing } = storiesOf(surroundings, host);
  const sides: readonly Side[] = [
    ...incoming.map((story) => ({ ...story, direction: "in" as const })),
    ...outgoing.map((story) => ({ ...story, direction: "out" as const })),
  ];
  return {
    reads: [
      here.machine,
      here.qemu,
      here.waiting,
      here.presence,
      ...outgoing.map((story) => story.parts.source),
      ...incoming.map((story) => story.parts.destination),
    ],
    moves: (read) => {
      const now = read(here.qemu);
      if (now.mute)
        return [
          calm(`the QEMU of ${hostName(host)} answers again`, [here.qemu.becomes(qemu(now.is, now.of))]),
        ];
      const waiting = read(here.waiting);
      if (!isUp(read, here) || waiting === "nothing") return [];
      const machine = machineOf(read, here);
      const waitsNoMore = here.waiting.becomes("nothing");
      const isGivenUp = !machine.quarantined;
      if (waiting === "qemu") {
        if (isGivenUp) return [calm(`${hostName(host)} waits no more for its QEMU`, [waitsNoMore])];
        const { to } = species.send(machine, { type: "host.examined", found: foundOf(now) });
        return [
          calm(`${hostName(host)} finds that its QEMU answers`, [here.machine.becomes(to), waitsNoMore]),
        ];
      }
      const recorded = recordedIn(read(here.presence));
      const open = sides.filter((side) => isOpen(side, read) && String(side.id) !== machine.migrationId);
      const owns = (side: Side) =>
        rules.isGoneOnWith({
          ...{ migrationId: String(side.id), recorded, isItsQemu: false, isDoubted: isGivenUp },
        });
      const gone = open.filter((side) => !owns(side));
      if (gone.length > 0 || open.length === 0)
        return [
          calm(`${hostName(host)} does not go on with the story that waited for its QEMU`, [
            ...gone.map((side) => disowned(side, read)),
            waitsNoMore,
          ]),
        ];
      const [story] = open;
      // Its QEMU is being ended, which can fail.
      if (story === undefined || isGivenUp) return [];
      const { to } = species.send(machine, {
        type: "migration.recovered",
        migrationId: String(story.id),
        direction: story.direction,
      });
      return [calm(`${hostName(host)} finds that its QEMU answers`, [here.machine.becomes(to), waitsNoMore])];
    },
  };
}
