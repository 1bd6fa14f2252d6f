// The QEMU arguments of each supported part of a domain, as an engineer would write them by hand. Each part of the table has a
// case, and those that need only QEMU are also started (qemu.test.ts). `/img` stands for a directory with the files raw, raw2,
// qcow2, iso, bios, vars, kernel and initrd.

export interface Case {
  readonly says: string;
  readonly xml: string;
  /** Options that must be present, with their values; `!` before one that must not. */
  readonly hardware?: readonly string[];
  readonly host?: readonly string[];
  /** A resource that a test machine may lack: the case is not started then. */
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

/** The properties of the first bootable device. */
export const boot = { bootindex: 1 };
export const mac = (value: number) => `<mac address='52:54:00:00:00:0${value}'/>`;
