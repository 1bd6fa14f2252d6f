// One guest on one host: the authority over everything that can start, run, stop, replace or forget it there. Upholds G1:
// a host has one such machine for each domain uuid, and no command reaches the guest's QEMU but through it.
//
// Theory of operation. A request is an event. A state accepts it, and reserves the guest in the same step, before
// anything is awaited; or it rejects it with the reason. While an effect is under way the state carries the tag
// `unsettled`, and the host holds further requests back (for a moment) or rejects them (when the effect is long: a
// start, a migration). A migration is two states: `departing` and `arriving`. Their inner steps belong to the source's
// and the destination's machine; this machine leaves them only by `migration.ended`, which carries the state of the
// guest on this host. A restarted host begins in `examining`, where every request waits until it is known what runs. A
// guest that cannot be attributed is `quarantined`: it is neither started nor resumed; an operator can destroy, release
// or adopt it. While the host at the other end of a departure cannot tell who runs the guest, the guest is quarantined
// too (`departing.undecided`).

import { createMachine, ignoring, isDone, noteFailed, rejecting, settled, startRequest } from "./context.js";

export type { DomainRequest, Found } from "./context.js";

const notRunning = rejecting("domain is not running");
const alreadyRunning = rejecting("domain is already running");
const another = (job: string) => rejecting(`another job is active: ${job}`);
const knownAlready = ignoring("the state already shows it");
const noMigration = ignoring("no migration of this guest is in progress here");
/** Only the migration to which the guest was given reports its state afterwards. */
const givenBack = [
  { guard: "isAnothers", ...ignoring("another migration of the guest is in progress") },
  ...settled,
] as const;

/** While a job is active, requests that would change the guest are rejected. */
const whileJob = (job: string) =>
  ({
    "operator.startRequested": another(job),
    "operator.suspendRequested": another(job),
    "operator.resumeRequested": another(job),
    "operator.resetRequested": another(job),
    "operator.shutdownRequested": another(job),
    "operator.undefineRequested": another(job),
    "operator.autostartRequested": another(job),
    "peer.beginRequested": another(job),
    "peer.concedeRequested": another(job),
    "peer.prepareRequested": another(job),
  }) as const;

const quarantined = { actions: "refuseQuarantined" } as const;

export const domainMachine = createMachine({
  id: "domain",
  context: ({ input: { uuid, restarted, away } }) => ({
    uuid,
    restarted,
    away,
    migrationId: null,
    start: null,
    why: null,
    mayBeElsewhere: false,
    failed: null,
  }),
  initial: "opening",
  // Each state handles its own requests; facts that change nothing in a state end here.
  on: {
    "operator.defineRequested": ignoring("a definition can be written in every state"),
    "operator.undefineRequested": ignoring("a definition can be removed in this state"),
    "operator.autostartRequested": ignoring("the mark can be changed in this state"),
    "operator.resetRequested": ignoring("QEMU is reset; the state stays"),
    "operator.shutdownRequested": ignoring("QEMU receives the request; the state stays"),
    "operator.releaseRequested": rejecting("the domain is not quarantined"),
    "operator.adoptRequested": rejecting("the domain is not quarantined"),
    "migration.recovered": noMigration,
    "migration.ended": noMigration,
    "migration.undecided": noMigration,
    "migration.decided": noMigration,
    "host.examined": ignoring("the guest is already known"),
    "peer.conceded": ignoring("the guest is not away"),
    "peer.runsGuest": ignoring("no start is in progress"),
    "monitor.stopped": knownAlready,
    "monitor.resumed": knownAlready,
    "process.exited": knownAlready,
  },
  states: {
    opening: {
      always: [{ guard: ({ context }) => context.restarted, target: "examining" }, { target: "inactive" }],
    },
    inactive: {
      description: "this host has no QEMU of the guest",
      entry: "endMigration",
      on: {
        "operator.startRequested": [
          {
            guard: ({ context }) => context.away,
            ...rejecting("the guest is away: it belongs to another host"),
          },
          { target: "starting", actions: "keepStart" },
        ],
        "peer.prepareRequested": { target: "arriving", actions: "reserve" },
        "peer.concedeRequested": [
          { guard: ({ context }) => context.away, ...rejecting("the guest has left this host too") },
          { target: "conceding" },
        ],
        "peer.conceded": "reclaiming",
        "operator.releaseRequested": [
          { guard: ({ context }) => context.away, target: "reclaiming" },
          rejecting("the domain is neither quarantined nor away"),
        ],
        "peer.beginRequested": notRunning,
        "operator.suspendRequested": notRunning,
        "operator.resumeRequested": notRunning,
        "operator.resetRequested": notRunning,
        "operator.shutdownRequested": notRunning,
        "operator.destroyRequested": notRunning,
      },
    },
    conceding: {
      description:
        "the guest returns to the host that it came from: its absence becomes durable before it is reported",
      tags: ["unsettled"],
      on: { ...whileJob("concede"), "operator.destroyRequested": notRunning },
      entry: "beginRequest",
      invoke: {
        src: "recordAway",
        id: "recordAway",
        input: ({ context }) => context.uuid,
        onDone: [
          { guard: isDone, target: "inactive", actions: "markAway" },
          // The record may be on disk all the same: this host does not start the guest without asking.
          { target: "inactive", actions: [noteFailed, "markAway"] },
        ],
      },
    },
    reclaiming: {
      description: "the guest belongs to this host again; that becomes durable before it is started",
      tags: ["unsettled"],
      on: { ...whileJob("reclaim"), "operator.destroyRequested": notRunning },
      entry: "beginRequest",
      invoke: {
        src: "forgetAway",
        id: "forgetAway",
        input: ({ context }) => context.uuid,
        onDone: [
          { guard: isDone, target: "inactive", actions: "markHere" },
          { target: "inactive", actions: noteFailed },
        ],
      },
    },
    starting: {
      description: "the guest is reserved and its QEMU is starting",
      initial: "recording",
      on: {
        ...whileJob("start"),
        "operator.destroyRequested": "ending",
        "peer.runsGuest": {
          target: "ending",
          actions: {
            type: "noteFailed",
            params: { why: "the guest runs on another host, which migrates it here" },
          },
        },
      },
      states: {
        recording: {
          description: "the start becomes durable: a restarted host will look for this QEMU",
          invoke: {
            src: "recordStart",
            id: "recordStart",
            input: startRequest,
            onDone: [
              { guard: isDone, target: "booting" },
              { target: "#domain.leaving", actions: noteFailed },
            ],
          },
        },
        booting: {
          description: "QEMU is being started",
          invoke: {
            src: "boot",
            id: "boot",
            input: startRequest,
            onDone: [
              {
                guard: ({ event, context }) => isDone({ event }) && context.start?.paused === true,
                target: "#domain.active.paused",
              },
              { guard: isDone, target: "#domain.active.running" },
              { target: "#domain.leaving", actions: noteFailed },
            ],
          },
        },
      },
    },
    active: {
      description: "the guest's QEMU is on this host, and no migration of it is in progress",
      entry: ["endMigration", "markHere"],
      initial: "running",
      on: {
        "peer.beginRequested": { target: "departing", actions: "reserve" },
        "operator.startRequested": alreadyRunning,
        "peer.prepareRequested": rejecting("domain is already active"),
        "peer.concedeRequested": rejecting("the guest is on this host"),
        "operator.destroyRequested": { target: "ending", actions: "beginRequest" },
        "monitor.stopped": ".paused",
        "monitor.resumed": ".running",
        "process.exited": "leaving",
      },
      states: {
        running: {
          on: {
            "operator.suspendRequested": { target: "suspending", actions: "beginRequest" },
            "operator.resumeRequested": alreadyRunning,
            "monitor.resumed": knownAlready,
          },
        },
        paused: {
          on: {
            "operator.resumeRequested": { target: "resuming", actions: "beginRequest" },
            "monitor.stopped": knownAlready,
          },
        },
        suspending: {
          tags: ["unsettled"],
          invoke: {
            src: "stopVcpus",
            id: "stopVcpus",
            input: ({ context }) => context.uuid,
            onDone: [
              { guard: isDone, target: "paused" },
              { target: "running", actions: noteFailed },
            ],
          },
          on: { "monitor.stopped": knownAlready, "monitor.resumed": knownAlready },
        },
        resuming: {
          tags: ["unsettled"],
          invoke: {
            src: "continueVcpus",
            id: "continueVcpus",
            input: ({ context }) => context.uuid,
            onDone: [
              { guard: isDone, target: "running" },
              { target: "paused", actions: noteFailed },
            ],
          },
          on: { "monitor.stopped": knownAlready, "monitor.resumed": knownAlready },
        },
      },
    },
    departing: {
      description: "the guest leaves by a migration: the source's machine controls its QEMU",
      on: {
        ...whileJob("migration out"),
        // libvirt suspends a guest in the middle of its migration; it stays suspended at the destination.
        "operator.suspendRequested": ignoring("the migration continues with a suspended guest"),
        "operator.destroyRequested": ignoring("the source's machine ends the guest"),
        "operator.releaseRequested": ignoring(
          "the source's machine ends its copy, unless the outcome is already decided",
        ),
        "operator.adoptRequested": ignoring(
          "the source's machine resumes its copy, unless the outcome is already decided",
        ),
        "migration.ended": givenBack,
      },
      initial: "underWay",
      states: {
        underWay: {
          on: {
            "migration.undecided": { target: "undecided", actions: "doubt" },
            "migration.decided": ignoring("the migration is in progress"),
          },
        },
        undecided: {
          description: "the destination's host cannot tell who runs the guest: an operator can decide",
          tags: ["quarantined"],
          on: {
            "migration.undecided": { actions: "doubt" },
            "migration.decided": { target: "underWay", actions: "release" },
          },
        },
      },
    },
    arriving: {
      description: "the guest arrives by a migration: the destination's machine controls its QEMU",
      on: {
        ...whileJob("migration in"),
        "operator.destroyRequested": ignoring("the destination's machine refuses or ends the guest"),
        "migration.ended": givenBack,
      },
    },
    broken: {
      description:
        "the guest was lost in post-copy: the remaining copy lacks memory and can only be destroyed",
      entry: "endMigration",
      on: {
        "operator.startRequested": alreadyRunning,
        "peer.prepareRequested": rejecting("domain is already active"),
        "peer.concedeRequested": rejecting("the guest is on this host"),
        "peer.beginRequested": rejecting("the guest was lost in post-copy and can only be destroyed"),
        "operator.suspendRequested": ignoring("the remaining copy may be suspended"),
        "operator.resumeRequested": rejecting(
          "the guest was lost in post-copy: the remaining copy cannot be resumed and can only be destroyed",
        ),
        "operator.resetRequested": rejecting("the guest was lost in post-copy and can only be destroyed"),
        "operator.destroyRequested": { target: "ending", actions: "beginRequest" },
        "process.exited": "leaving",
      },
    },
    ending: {
      description: "the guest's QEMU is being ended",
      on: { ...whileJob("destroy"), "operator.destroyRequested": ignoring("the guest is being ended") },
      invoke: {
        src: "endQemu",
        id: "endQemu",
        input: ({ context }) => context.uuid,
        onDone: [
          {
            guard: ({ event, context }) => isDone({ event }) && context.mayBeElsewhere,
            target: "givingUp",
            actions: "release",
          },
          { guard: isDone, target: "leaving", actions: "release" },
          {
            target: "quarantined",
            actions: [
              noteFailed,
              {
                type: "quarantine",
                params: ({ event }) => ({
                  why: event.output.kind === "done" ? "" : event.output.cause.message,
                  elsewhere: false,
                }),
              },
            ],
          },
        ],
      },
    },
    givingUp: {
      description:
        "nothing of the guest is left here, but another host may run it: the record that it is away becomes durable",
      tags: ["unsettled"],
      on: whileJob("release"),
      invoke: {
        src: "recordAway",
        id: "recordAway",
        input: ({ context }) => context.uuid,
        onDone: [
          { guard: isDone, target: "leaving", actions: "markAway" },
          {
            target: "quarantined",
            actions: [
              noteFailed,
              {
                type: "quarantine",
                params: {
                  why: "this host could not record that the guest may run on another host",
                  elsewhere: true,
                },
              },
            ],
          },
        ],
      },
    },
    leaving: {
      description: "the guest's QEMU is gone, or failed to start: its record is removed",
      tags: ["unsettled"],
      on: whileJob("stop"),
      invoke: {
        src: "forgetQemu",
        id: "forgetQemu",
        input: ({ context }) => context.uuid,
        onDone: "inactive",
      },
    },
    examining: {
      description: "the host was restarted and has not yet examined its records of the guest",
      tags: ["unsettled"],
      on: {
        "migration.recovered": [
          { guard: ({ event }) => event.direction === "out", target: "departing", actions: "reserve" },
          { target: "arriving", actions: "reserve" },
        ],
        "host.examined": settled,
      },
    },
    quarantined: {
      description: "this host cannot tell who runs the guest: it is neither started nor resumed here",
      tags: ["quarantined"],
      on: {
        "operator.startRequested": quarantined,
        "operator.suspendRequested": quarantined,
        "operator.resumeRequested": quarantined,
        "operator.resetRequested": quarantined,
        "operator.shutdownRequested": quarantined,
        "operator.undefineRequested": quarantined,
        "operator.autostartRequested": quarantined,
        "peer.beginRequested": quarantined,
        "peer.concedeRequested": quarantined,
        "peer.prepareRequested": quarantined,
        "operator.destroyRequested": { target: "ending", actions: "beginRequest" },
        "operator.releaseRequested": [
          {
            guard: ({ context }) => context.mayBeElsewhere,
            target: "givingUp",
            actions: ["release", "beginRequest"],
          },
          { target: "examining", actions: "release" },
        ],
        "operator.adoptRequested": { target: "examining", actions: "release" },
        "migration.recovered": [
          {
            guard: ({ event }) => event.direction === "out",
            target: "departing",
            actions: ["reserve", "release"],
          },
          { target: "arriving", actions: ["reserve", "release"] },
        ],
        // The host has since found evidence: a QEMU that was unresponsive answers, or has exited.
        "host.examined": settled,
      },
    },
  },
});
