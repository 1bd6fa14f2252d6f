// What each supported part of a domain becomes, as one would write it by hand. Every part of the table is met by a case,
// and what needs nothing but QEMU is also started (qemu.test.ts). `/img` stands for a directory with the files raw, raw2,
// qcow2, iso, bios, vars, kernel and initrd.

export interface Case {
  readonly says: string;
  readonly xml: string;
  /** Options that are there, with their values; `!` before one that is not. */
  readonly hardware?: readonly string[];
  readonly host?: readonly string[];
  /** What it takes that a machine for tests may not have: it is not started then. */
  readonly needs?: "kvm" | "network" | "block";
}

export const device = (driver: string, properties: object) =>
  `-device ${JSON.stringify({ driver, ...properties })}`;
export const node = (properties: object) => `-blockdev ${JSON.stringify(properties)}`;
export const slot = (addr: string) => ({ bus: "pci.0", addr });

export const file = (path: string, target: string, more: object = {}) =>
  node({
    driver: "file",
    filename: path,
    "node-name": `${target}-storage`,
    ...more,
    "auto-read-only": true,
    discard: "unmap",
  });
export const format = (target: string, more: object = {}, readOnly = false) =>
  node({
    "node-name": `${target}-format`,
    "read-only": readOnly,
    ...more,
    driver: "raw",
    file: `${target}-storage`,
  });

export const disk = (target: string, more = "", path = "/img/raw", attributes = "type='file'") =>
  `<disk ${attributes}><source file='${path}'/><target ${target}/>${more}</disk>`;

/** Of the first thing that can be booted. */
export const boot = { bootindex: 1 };
export const mac = (value: number) => `<mac address='52:54:00:00:00:0${value}'/>`;
