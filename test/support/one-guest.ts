// One guest and one migration of it, for tests of a single side without a QEMU.

export const identity = { migrationId: "m-1", uuid: "u-1", name: "guest" };

export const guest = {
  uuid: "u-1",
  guestWas: "running",
  qemuVersion: "7.2",
  memoryBytes: 1,
  capabilities: [],
  disks: [],
  fencingToken: null,
} as const;
