// The deaths on a host of the host world and their consequences: the daemon, with or without its journal; the host; a QEMU.

import type { Change, Read, Rule, WorldMove } from "../components.js";
import {
  type Asking,
  destination,
  destinationAs,
  destinationIsOpen,
  fateOf,
  forgotten,
  type HostParts,
  isUp,
  presence,
  type Qemu,
  qemu,
  source,
  sourceIsOpen,
} from "./parts.js";
import { storiesOf } from "./stories.js";
import { fault, hostAt, hostName, type Surroundings } from "./surroundings.js";

export function deathRules(surroundings: Surroundings, host: number): Rule[] {
  const here = hostAt(surroundings, host);
  return [deaths(surroundings, host, here), qemuDeaths(surroundings, host, here)];
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

/** Returns whether it may have been the only copy that could continue. */
const isOnly = ({ is, of }: Qemu, fate: (of: number) => string): boolean =>
  is === "absent" || is === "incoming" ? false : is === "sent" ? of !== null && fate(of) === "open" : true;

/** A copy is not the only one while the source still has one. */
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
      // The decision of an ended story is also stored in another file.
      const lost = (story: number, change: Change) =>
        moves.push(
          fault(`the daemon of ${name} dies, the story of migration ${story} is lost`, [
            ...down,
            change,
            parts.damaged.becomes(true),
          ]),
        );
      for (const { id, parts: of } of outgoing)
        if (sourceIsOpen(read(of.source))) lost(id, of.source.becomes(source("none")));
      for (const { id, parts: of } of incoming) {
        const there = read(of.destination);
        if (destinationIsOpen(there))
          lost(id, of.destination.becomes(destination("none", { otherJournal: there.otherJournal })));
      }
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
