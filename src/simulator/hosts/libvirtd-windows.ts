// The windows in which the guarantees do not hold with a libvirtd on one side: exactly those that the search of the host world
// finds (test/simulator/search-libvirtd.test.ts). Each has its shortest trace and a description for docs/guarantees.md.

import type { Window } from "./libvirtd-parts.js";
import type { LibvirtdSearch } from "./libvirtd-world.js";

export interface BrokenWindow {
  readonly libvirtd: LibvirtdSearch["libvirtd"];
  readonly mode: NonNullable<LibvirtdSearch["mode"]>;
  readonly guarantee: string;
  readonly window: Window;
  /** The minimum number of faults. */
  readonly faults: number;
  /** A is the source's host, B the destination's. */
  readonly moves: readonly string[];
  readonly says: string;
}

/** The moves up to the handover from a switchoverd to a libvirtd. */
const untilHandedToLibvirtd = [
  "migration 0 begins at A",
  "B prepares the migration",
  "Perform 0 is delivered",
  "the guest's memory has been transferred by migration 0",
  "A has handed the guest over by migration 0",
];

/** The moves up to the handover from a libvirtd to a switchoverd. */
const untilHandedByLibvirtd = [
  "the migration begins at A",
  "Prepare 0 reserves the guest at B",
  "B prepares migration 0",
  "Perform is delivered",
  "the guest's memory has been transferred by migration 0",
  "A has handed the guest over",
];

export const brokenWindows: readonly BrokenWindow[] = [
  {
    libvirtd: "destination",
    mode: "peer-to-peer",
    guarantee: "G3",
    window: "the guest ends during Finish",
    faults: 0,
    says: "The guest ran at the libvirtd and ended (shut down, killed) before Finish was answered there. libvirtd answers with an error, as for a guest that never ran, and the source resumes its copy: the work of the guest at the libvirtd is lost.",
    moves: [
      ...untilHandedToLibvirtd,
      "B receives Finish",
      "B runs the guest",
      "the guest is ended at B",
      "B answers Finish with an error",
      "A concludes: refused",
      "A resumes its guest after migration 0",
    ],
  },
  {
    libvirtd: "destination",
    mode: "peer-to-peer",
    guarantee: "G5",
    window: "the connection breaks during Finish",
    faults: 1,
    says: "The connection breaks after Finish was sent and before it is answered, and the incoming domain no longer exists when the source asks again: libvirtd ended it with the connection, or its user ended it, migrated it on or restarted it, or its id was not read after Prepare. The source stays paused.",
    moves: [
      ...untilHandedToLibvirtd,
      "B receives Finish",
      "the connection to B breaks",
      "B detects that Prepare's connection is closed",
      "Finish, or its answer, is lost",
      "B receives Finish",
      "B has no guest to finish",
      "B answers Finish with an error",
    ],
  },
  {
    libvirtd: "destination",
    mode: "peer-to-peer",
    guarantee: "G5",
    window: "the libvirtd restarts during Finish",
    faults: 1,
    says: "The libvirtd restarts after Finish was sent and ends the incoming guest. The source stays paused.",
    moves: [
      ...untilHandedToLibvirtd,
      "B receives Finish",
      "the libvirtd of B restarts",
      "B receives Finish",
      "B has no guest to finish",
      "B answers Finish with an error",
    ],
  },
  {
    libvirtd: "destination",
    mode: "peer-to-peer",
    guarantee: "G5",
    window: "the source's daemon restarts",
    faults: 1,
    says: "The source's daemon dies after Perform has started; the libvirtd ends the incoming guest with its connection. Finish counts as sent, so that nothing proves a refusal. The source stays paused.",
    moves: [
      ...untilHandedToLibvirtd,
      "the daemon of A dies",
      "B detects that Prepare's connection is closed",
      "the daemon of A starts",
      "B receives Finish",
      "B has no guest to finish",
      "B answers Finish with an error",
    ],
  },
  {
    libvirtd: "destination",
    mode: "managed",
    guarantee: "G5",
    window: "the connection breaks during Finish",
    faults: 1,
    says: "The client's connection to the libvirtd breaks after the handover. The client cancels Confirm, which proves nothing, and the source has no address to query. The source stays paused, whether the guest runs at the libvirtd or not.",
    moves: [
      ...untilHandedToLibvirtd,
      "the connection to B breaks",
      "B detects that Prepare's connection is closed",
    ],
  },
  {
    libvirtd: "destination",
    mode: "managed",
    guarantee: "G5",
    window: "the libvirtd restarts during Finish",
    faults: 1,
    says: "The libvirtd restarts after the handover and ends the incoming guest. The source stays paused.",
    moves: [...untilHandedToLibvirtd, "the libvirtd of B restarts"],
  },
  {
    libvirtd: "destination",
    mode: "managed",
    guarantee: "G5",
    window: "Finish fails after the handover",
    faults: 0,
    says: "Finish is answered with an error after the handover, for example because the incoming guest was ended there. The client's cancelled Confirm proves nothing to the source, which stays paused.",
    moves: [
      ...untilHandedToLibvirtd,
      "the guest is ended at B",
      "B receives Finish",
      "B has no guest to finish",
      "B answers Finish with an error",
    ],
  },
  {
    libvirtd: "destination",
    mode: "managed",
    guarantee: "G5",
    window: "the client is gone",
    faults: 1,
    says: "The client dies, or loses the connection to the source, after Perform has started: Finish is never requested, or Confirm is never sent. The source stays paused.",
    moves: [...untilHandedToLibvirtd, "the client is gone", "B detects that Prepare's connection is closed"],
  },
  {
    libvirtd: "destination",
    mode: "managed",
    guarantee: "G5",
    window: "the source's daemon restarts",
    faults: 1,
    says: "The source's daemon dies after Perform has started: a Confirm over a later connection names no migration and is rejected. The source stays paused.",
    moves: [
      ...untilHandedToLibvirtd,
      "the daemon of A dies",
      "B detects that Prepare's connection is closed",
      "the daemon of A starts",
    ],
  },
  {
    libvirtd: "source",
    mode: "managed",
    guarantee: "G1",
    window: "the guest ends during Finish",
    faults: 2,
    says: "The switchoverd took the guest, its QEMU died before Finish was answered, and its daemon dies too: the definition counts as arrived. The libvirtd has resumed its guest because of the error, and an operator also starts the guest at the switchoverd.",
    moves: [
      ...untilHandedByLibvirtd,
      "Finish 0 is delivered",
      "the QEMU of B dies",
      "B has lost the guest after taking it",
      "Finish is answered with an error, and Confirm is cancelled",
      "A resumes its guest",
      "the daemon of B dies",
      "the daemon of B starts",
      "B removes the guest's record",
      "operator.startRequested at B",
      "B records the start",
      "the QEMU of B starts",
    ],
  },
  {
    libvirtd: "source",
    mode: "managed",
    guarantee: "G1",
    window: "the connection breaks during Finish",
    faults: 1,
    says: "Finish was executed, or will be, and its answer is lost: the connection breaks, or the switchoverd dies. libvirt's client cancels Confirm, and the libvirtd resumes its guest.",
    moves: [
      ...untilHandedByLibvirtd,
      "Finish 0 is delivered",
      "B runs the guest of migration 0",
      "the connection to B breaks, and Confirm is cancelled",
      "A resumes its guest",
    ],
  },
  {
    libvirtd: "source",
    mode: "managed",
    guarantee: "G3",
    window: "the guest ends during Finish",
    faults: 1,
    says: "The guest ran at the switchoverd and its QEMU died before Finish was answered: the libvirtd resumes its copy because of the error.",
    moves: [
      ...untilHandedByLibvirtd,
      "Finish 0 is delivered",
      "B runs the guest of migration 0",
      "the QEMU of B dies",
      "B has lost the guest after taking it",
      "Finish is answered with an error, and Confirm is cancelled",
      "A resumes its guest",
    ],
  },
  {
    libvirtd: "source",
    mode: "managed",
    guarantee: "G3",
    window: "the connection breaks during Finish",
    faults: 1,
    says: "The same event: the libvirtd resumes a guest that has run at the switchoverd.",
    moves: [
      ...untilHandedByLibvirtd,
      "Finish 0 is delivered",
      "B runs the guest of migration 0",
      "the connection to B breaks, and Confirm is cancelled",
      "A resumes its guest",
    ],
  },
  {
    libvirtd: "source",
    mode: "managed",
    guarantee: "G5",
    window: "the client is gone",
    faults: 1,
    says: "The client dies after the handover and before Confirm. The libvirtd leaves its guest paused, whether the guest runs at the switchoverd or not.",
    moves: [
      "the migration begins at A",
      "Prepare 0 reserves the guest at B",
      "B prepares migration 0",
      "migration 0 is given up at B",
      "Perform is delivered",
      "the guest's memory has been transferred by migration 0",
      "B kills the guest received by migration 0",
      "A has handed the guest over",
      "B removes the guest's record",
      "the client is gone",
    ],
  },
  {
    libvirtd: "source",
    mode: "managed",
    guarantee: "G5",
    window: "the source's daemon restarts",
    faults: 1,
    says: "The libvirtd restarts after the handover and leaves its guest paused, whether the guest runs at the switchoverd or not.",
    moves: [
      "the migration begins at A",
      "Prepare 0 reserves the guest at B",
      "B prepares migration 0",
      "migration 0 is given up at B",
      "Perform is delivered",
      "the guest's memory has been transferred by migration 0",
      "B kills the guest received by migration 0",
      "A has handed the guest over",
      "B removes the guest's record",
      "the libvirtd of A restarts",
    ],
  },
];
