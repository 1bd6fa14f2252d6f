// A libvirtd as the source in the host world, coordinated by libvirt's own client or by itself: it kills its copy on Confirm and
// resumes it on a cancelled Confirm, whatever the destination does. libvirt 9.0, qemu_migration.c: qemuMigrationSrcConfirm,
// qemuMigrationAnyConnectionClosed; libvirt-domain.c: virDomainMigrateVersion3Full.

import type { Rule, WorldMove } from "../components.js";
import { type BesideLibvirtd, enters } from "./libvirtd-parts.js";
import { decisionIn, isUp, led, qemu, source } from "./parts.js";
import { calm, fault, requested, type Seen } from "./surroundings.js";

export const fromLibvirtd = (world: BesideLibvirtd, seen: Seen): Rule[] => [
  begins(world, seen),
  performs(world, seen),
  confirms(world, seen),
  losesItsLeader(world, seen),
  dies(world, seen),
];

function begins(_: BesideLibvirtd, { own, s, sName }: Seen): Rule {
  return {
    reads: [own.led, s.qemu],
    moves: (read) =>
      read(own.led) === led.nothing && read(s.qemu).is === "running"
        ? [
            requested(`the migration begins at ${sName}`, [
              own.led.becomes(led.begun),
              own.source.becomes(source("begun")),
            ]),
          ]
        : [],
  };
}

function performs(_: BesideLibvirtd, { own, s, sName }: Seen): Rule {
  return {
    reads: [own.source, own.led, s.qemu],
    moves: (read) => {
      const { is } = read(own.source);
      const { is: qemuIs } = read(s.qemu);
      if (is === "begun" && read(own.led) >= led.prepared)
        return [
          calm("Perform is delivered", [own.source.becomes(source("performing"))]),
          calm(`the migration is given up at ${sName}`, [own.source.becomes(source("stayed"))]),
        ];
      if (is === "begun")
        return [calm(`the migration is given up at ${sName}`, [own.source.becomes(source("stayed"))])];
      if (is !== "performing") return [];
      if (qemuIs === "running")
        return [calm(`Perform fails at ${sName}`, [own.source.becomes(source("stayed"))])];
      return [
        calm(`${sName} has handed the guest over`, [
          own.source.becomes(source("handedOver")),
          own.led.becomes(led.performed),
        ]),
        fault(`Perform fails at ${sName} after all memory was sent`, [
          own.source.becomes(source("resuming")),
        ]),
      ];
    },
  };
}

/** The answer to Finish decides: with a domain the copy is killed, with an error it is resumed. */
function confirms({ libvirtd }: BesideLibvirtd, { own, s, sName }: Seen): Rule {
  return {
    reads: [own.source, own.led, own.destination, own.fate, s.qemu, libvirtd.isLed],
    moves: (read) => {
      const { is } = read(own.source);
      const becomes = (next: Parameters<typeof source>[0]) => own.source.becomes(source(next));
      const fate = read(own.fate);
      if (is === "killing")
        return [
          calm(
            `${sName} kills its copy`,
            [s.qemu.becomes(qemu("absent")), becomes("left")],
            fate === "open"
              ? "G3: a source's copy is killed before the destination has taken the guest"
              : undefined,
          ),
        ];
      if (is === "resuming") return resumes();
      if (is !== "handedOver" || !read(libvirtd.isLed)) return [];
      if (read(own.led) === led.finished) return [calm("Confirm is delivered", [becomes("killing")])];
      const there = read(own.destination);
      const isLost = there.is === "lost";
      if (!isLost && decisionIn(there) !== "refused") return [];
      return [
        calm("Finish is answered with an error, and Confirm is cancelled", [
          becomes("resuming"),
          ...(isLost ? [enters(libvirtd, "the guest ends during Finish")] : []),
        ]),
      ];

      function resumes(): WorldMove[] {
        return [
          calm(
            `${sName} resumes its guest`,
            [s.qemu.becomes(qemu("running")), becomes("stayed")],
            fate === "ran"
              ? "G3: a guest that has run at the destination is resumed at the source"
              : undefined,
          ),
        ];
      }
    },
  };
}

/** The consequences for a libvirtd of a broken connection, a dead daemon at the destination, or a dead client. */
function losesItsLeader({ libvirtd }: BesideLibvirtd, { own, d, s, sName, dName }: Seen): Rule {
  return {
    reads: [own.source, own.led, d.machine, s.qemu, libvirtd.isLed],
    moves: (read) => {
      const { is } = read(own.source);
      if (!read(libvirtd.isLed) || (is !== "performing" && is !== "handedOver")) return [];
      const resumes = [own.source.becomes(source("resuming"))];
      const moves: WorldMove[] = [];
      if (is === "handedOver") {
        const cancels = [...resumes, enters(libvirtd, "the connection breaks during Finish")];
        moves.push(fault(`the connection to ${dName} breaks, and Confirm is cancelled`, cancels));
        if (!isUp(read, d))
          moves.push(calm(`${dName} does not answer Finish, and Confirm is cancelled`, cancels));
      }
      const isSent = read(s.qemu).is === "sent";
      const gone = [libvirtd.isLed.becomes(false), ...(isSent && is === "performing" ? resumes : [])];
      moves.push(
        fault("the client is gone", [...gone, enters(libvirtd, "the client is gone")]),
        fault(`the libvirtd of ${sName} restarts`, [
          ...gone,
          enters(libvirtd, "the source's daemon restarts"),
        ]),
      );
      return moves;
    },
  };
}

function dies({ parts }: BesideLibvirtd, { own, s, sName }: Seen): Rule {
  return {
    faultsOnly: true,
    reads: [own.source, own.fate, s.qemu],
    moves: (read) =>
      read(s.qemu).is === "absent"
        ? []
        : [
            fault(`the QEMU of ${sName} dies`, [
              s.qemu.becomes(qemu("absent")),
              own.source.changes("dead", (now) =>
                now.is === "none" || now.is === "left" || now.is === "stayed" ? now : source("lost"),
              ),
              ...(read(own.fate) === "open" ? [parts.ended.becomes(true)] : []),
            ]),
          ],
  };
}
