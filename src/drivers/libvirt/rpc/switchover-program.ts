// What a switchoverd is asked beside libvirt's own procedures: by a source that settles with its destination, and by
// whoever wants to know whether a guest can come to it.

import { migrateParams, nonnullString, uuid } from "./libvirt-types.js";
import { ownProgram, procedure, program, urgent } from "./program.js";
import { int, nothing, string, uint } from "./xdr.js";
import { array, struct } from "./xdr-compound.js";

const migration = struct({ migrationId: string(64), uuid, name: nonnullString });
/** With the identity of the journal that Prepare's cookie named, and the secret of the pair. */
const question = struct({
  migrationId: string(64),
  uuid,
  name: nonnullString,
  journal: string(64),
  secret: string(128),
});
const decision = struct({ decision: int });

export const decisions = { taken: 1, refused: 2, undecidable: 3 } as const;

/** How a move has ended. */
export const moveEnds = { arrived: 1, stayed: 2, lost: 3, away: 4 } as const;

export const reconnections = { listens: 1, arrived: 2, lost: 3, whole: 4 } as const;

export const own = program(ownProgram, {
  procedures: {
    /** Whether the destination has taken the guest. One that had not decided refuses it for good. */
    settle: urgent(1, "write", migration, decision),
    /** The source's QEMU is dead for certain: a destination that holds the guest whole takes it. */
    concede: urgent(2, "write", migration, decision),
    /** Post-copy may begin: the destination gives the guest up only when its source says so. */
    announcePostcopy: urgent(6, "write", migration, nothing),
    /** In post-copy: the source can run the guest no more, and serves its memory; the destination takes it. */
    handOver: urgent(4, "write", migration, decision),
    /** In post-copy, when the connection is lost: where the source connects to again, when it is `reconnections.listens`. */
    reconnect: urgent(5, "write", migration, struct({ state: int, uri: nonnullString })),
    /** The same questions as above, as a source asks them whose Begin cookie was answered with a journal's identity. */
    settleAs: urgent(11, "write", question, decision),
    concedeAs: urgent(12, "write", question, decision),
    handOverAs: urgent(14, "write", question, decision),
    reconnectAs: urgent(15, "write", question, struct({ state: int, uri: nonnullString })),
    announceAs: urgent(16, "write", question, nothing),
    /** Records that a guest which left the asking host by this migration is not here and will not be started here. */
    concedeAway: procedure(
      17,
      "write",
      struct({ migrationId: string(64), uuid, hostname: nonnullString, uri: nonnullString }),
      nothing,
    ),
    /** The source of an offline migration has given the guest up: this host, which has its definition, may start it. */
    conceded: procedure(21, "write", struct({ migrationId: string(64), uuid, secret: string(128) }), nothing),
    /** Ends the quarantine of a domain, or its mark as being elsewhere; the operator answers for it. */
    release: procedure(18, "write", struct({ uuid }), nothing),
    /** Says that the copy on this host is the guest, where nothing else decides it; the operator answers for it. */
    adopt: procedure(20, "write", struct({ uuid }), nothing),
    /** Every domain that is quarantined or away, as JSON. */
    standing: procedure(19, "read", nothing, struct({ domains: nonnullString })),
    /**
     * Moves the guest to another host under the id that an orchestrator has given the migration; asked again, it joins it, or
     * tells how it has ended. An id whose token is older than one that was seen of the guest is refused.
     */
    move: procedure(
      7,
      "write",
      struct({
        migrationId: string(64),
        uuid,
        destinationUri: nonnullString,
        params: migrateParams,
        flags: uint,
      }),
      struct({ end: int, why: nonnullString }),
    ),
    /** What the host has to offer a guest: HostFacts as JSON, about these paths, with this QEMU. */
    facts: procedure(
      3,
      "write",
      struct({ binary: nonnullString, paths: array(nonnullString, 1_024) }),
      struct({ facts: nonnullString }),
    ),
  },
  messages: {},
});
