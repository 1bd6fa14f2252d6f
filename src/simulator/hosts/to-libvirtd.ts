// A libvirtd as the destination in the host world: its incoming domain, Finish, and requests of its user. It keeps no journal and
// cannot be queried by migration id; it kills an incoming guest when Prepare's connection closes. libvirt 9.0,
// qemu_migration.c: qemuMigrationDstPrepareAny, qemuMigrationDstFinish.

import type { Change, Read, Rule, WorldMove } from "../components.js";
import { asksLibvirtd } from "./leading-to-libvirtd.js";
import { type BesideLibvirtd, cut, enters } from "./libvirtd-parts.js";
import { isUp, led, qemu, sourceIsOpen } from "./parts.js";
import { calm, fault, requested, type Seen } from "./surroundings.js";

export function toLibvirtd(world: BesideLibvirtd, seen: Seen): Rule[] {
  return [
    prepares(world, seen),
    breaks(world, seen),
    carriesOut(world, seen),
    userActs(world, seen),
    dies(world, seen),
    ...asksLibvirtd(world, seen),
  ];
}

function prepares({ libvirtd }: BesideLibvirtd, { own, s, d, dName }: Seen): Rule {
  return {
    reads: [s.machine, own.led, own.source, libvirtd.link, libvirtd.isLed],
    moves: (read) => {
      const isBegun = read(own.led) === led.begun && read(own.source).is === "begun";
      if (!isBegun || !isUp(read, s) || !read(libvirtd.isLed) || read(libvirtd.link) !== "none") return [];
      const prepared = [
        d.qemu.becomes(qemu("incoming", 0)),
        libvirtd.domain.becomes("incoming"),
        libvirtd.link.becomes("open"),
        own.led.becomes(led.prepared),
      ];
      return [
        calm(`${dName} prepares the migration`, [...prepared, libvirtd.isIdKnown.becomes(true)]),
        fault(`${dName} prepares the migration, and its domain's id is not read`, prepared),
      ];
    },
  };
}

/** The connection breaks and the libvirtd detects it later: its incoming guest ends, and its Finish with it. */
function breaks(world: BesideLibvirtd, { own, d, dName }: Seen): Rule {
  const { parts, libvirtd, mode } = world;
  return {
    reads: [libvirtd.link, libvirtd.message, libvirtd.isCut, libvirtd.domain, d.qemu, own.source],
    moves: (read) => {
      const link = read(libvirtd.link);
      const message = read(libvirtd.message);
      const isAsked = message !== "none" && !read(libvirtd.isCut);
      const moves: WorldMove[] = [];
      if (link === "open" || isAsked) {
        // A client does not have another connection over which it could continue.
        const isHarmed = isAsked || (mode === "managed" && sourceIsOpen(read(own.source)));
        const entered = isHarmed ? [enters(libvirtd, "the connection breaks during Finish")] : [];
        moves.push(fault(`the connection to ${dName} breaks`, [...cut(libvirtd, read), ...entered]));
      }
      if (link !== "broken") return moves;
      const isIncoming = read(libvirtd.domain) === "incoming";
      const is = read(d.qemu).is;
      moves.push(
        calm(`${dName} detects that Prepare's connection is closed`, [
          libvirtd.link.becomes("closed"),
          ...(isIncoming
            ? [
                d.qemu.becomes(qemu("absent")),
                libvirtd.domain.becomes("none"),
                ...(is === "running" ? [parts.ended.becomes(true)] : []),
                ...(message === "running"
                  ? [libvirtd.message.becomes("failed"), enters(libvirtd, "the guest ends during Finish")]
                  : []),
              ]
            : []),
        ]),
      );
      return moves;
    },
  };
}

/** Finish at the libvirtd: `cont`, then the domain is detached from Prepare's connection. */
function carriesOut({ libvirtd }: BesideLibvirtd, { own, d, dName }: Seen): Rule {
  return {
    reads: [libvirtd.message, libvirtd.isCut, libvirtd.domain, d.qemu],
    moves: (read) => {
      const message = read(libvirtd.message);
      const moves: WorldMove[] = [];
      if (message === "asked") {
        const isWhole = read(libvirtd.domain) === "incoming" && read(d.qemu).is === "complete";
        moves.push(
          isWhole
            ? calm(`${dName} runs the guest`, [
                d.qemu.becomes(qemu("running")),
                libvirtd.message.becomes("running"),
                own.fate.becomes("ran"),
              ])
            : calm(`${dName} has no guest to finish`, [libvirtd.message.becomes("failed")]),
        );
        if (isWhole)
          moves.push(
            fault(`${dName} cannot run the guest and kills it`, [
              d.qemu.becomes(qemu("absent")),
              libvirtd.domain.becomes("none"),
              libvirtd.message.becomes("failed"),
            ]),
          );
      }
      if (message === "running")
        moves.push(
          calm(`${dName} has executed Finish`, [
            libvirtd.domain.becomes("kept"),
            libvirtd.message.becomes("arrived"),
          ]),
        );
      if (message !== "none" && message !== "running" && read(libvirtd.isCut))
        moves.push(
          calm(`Finish, or its answer, is lost`, [
            libvirtd.message.becomes("none"),
            libvirtd.isCut.becomes(false),
          ]),
        );
      return moves;
    },
  };
}

/** The guest ends or leaves at the libvirtd, whether or not it has run. */
function ends(world: BesideLibvirtd, { d }: Seen, read: Read): Change[] {
  const { parts, libvirtd } = world;
  const message = read(libvirtd.message);
  const hasRun = read(d.qemu).is === "running";
  return [
    d.qemu.becomes(qemu("absent")),
    libvirtd.domain.becomes(read(libvirtd.domain) === "incoming" ? "none" : "inactive"),
    ...(message === "running"
      ? [libvirtd.message.becomes("failed"), enters(libvirtd, "the guest ends during Finish")]
      : []),
    ...(hasRun ? [parts.ended.becomes(true)] : []),
  ];
}

/** The user of the libvirtd may end the guest, migrate it on, or start it again under another id. */
function userActs(world: BesideLibvirtd, seen: Seen): Rule {
  const { parts, libvirtd } = world;
  const { d, dName } = seen;
  return {
    reads: [libvirtd.domain, libvirtd.message, libvirtd.isElsewhere, d.qemu],
    moves: (read) => {
      const domain = read(libvirtd.domain);
      if (domain === "none") return [];
      if (domain === "inactive")
        return read(libvirtd.isElsewhere)
          ? []
          : [
              requested(`the guest is started again at ${dName}`, [
                d.qemu.becomes(qemu("running")),
                libvirtd.domain.becomes("later"),
                parts.ended.becomes(false),
              ]),
            ];
      const moves = [requested(`the guest is ended at ${dName}`, ends(world, seen, read))];
      if (domain === "incoming") return moves;
      return [
        ...moves,
        requested(`the guest is migrated on from ${dName}`, [
          ...ends(world, seen, read),
          libvirtd.isElsewhere.becomes(true),
          parts.ended.becomes(false),
        ]),
      ];
    },
  };
}

function dies(world: BesideLibvirtd, seen: Seen): Rule {
  const { libvirtd, mode } = world;
  const { d, dName } = seen;
  return {
    faultsOnly: true,
    reads: [libvirtd.domain, libvirtd.message, libvirtd.link, d.qemu],
    moves: (read) => {
      const link = read(libvirtd.link);
      const domain = read(libvirtd.domain);
      if (link === "none") return [];
      const isRunning = read(d.qemu).is === "running";
      // A restarted libvirtd keeps a guest that has run and kills an incoming one.
      const restarted: Change[] = [
        libvirtd.link.becomes("closed"),
        libvirtd.message.becomes("none"),
        libvirtd.isCut.becomes(false),
        ...(domain !== "incoming"
          ? []
          : isRunning
            ? [libvirtd.domain.becomes("kept")]
            : [d.qemu.becomes(qemu("absent")), libvirtd.domain.becomes("none")]),
        ...(read(libvirtd.message) === "none" && mode !== "managed"
          ? []
          : [enters(libvirtd, "the libvirtd restarts during Finish")]),
      ];
      const moves = [fault(`the libvirtd of ${dName} restarts`, restarted)];
      if (domain !== "none" && domain !== "inactive")
        moves.push(fault(`the QEMU of ${dName} dies`, ends(world, seen, read)));
      return moves;
    },
  };
}
