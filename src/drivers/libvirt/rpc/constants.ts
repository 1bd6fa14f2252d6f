// libvirt's constants that are not part of the wire format: features, authentication types, events, states, flags.

export const features = {
  migrationV1: 1,
  migrationV2: 3,
  migrationP2p: 4,
  migrationDirect: 5,
  migrationV3: 6,
  migrateChangeProtection: 7,
  fdPassing: 8,
  typedParamString: 9,
  programKeepalive: 10,
  xmlMigratable: 11,
  migrationOffline: 12,
  migrationParams: 13,
  remoteEventCallback: 14,
  remoteCloseCallback: 15,
} as const;

export const authTypes = { none: 0, sasl: 1, polkit: 2 } as const;

export const connectFlags = { readOnly: 1 } as const;

export const eventIds = { lifecycle: 0, migrationIteration: 20, jobCompleted: 21 } as const;

/** Types of lifecycle events; each has its own details. */
export const lifecycleEvents = {
  defined: 0,
  undefined: 1,
  started: 2,
  suspended: 3,
  resumed: 4,
  stopped: 5,
  shutdown: 6,
  pmsuspended: 7,
  crashed: 8,
} as const;

export const domainStates = {
  nostate: 0,
  running: 1,
  blocked: 2,
  paused: 3,
  shutdown: 4,
  shutoff: 5,
  crashed: 6,
  pmsuspended: 7,
} as const;

export const jobTypes = { none: 0, bounded: 1, unbounded: 2, completed: 3, failed: 4, cancelled: 5 } as const;
