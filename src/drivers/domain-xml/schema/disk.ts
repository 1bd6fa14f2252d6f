// Disks: the guest's device, and the host's storage behind it.

import {
  content,
  defaulted,
  element,
  elementBy,
  exactlyOne,
  flag,
  guest,
  host,
  idle,
  type Model,
  many,
  needed,
  one,
  optional,
  refusedAttribute,
} from "../xml/table.js";
import { path, text, whole, word } from "../xml/values.js";
import { alias, boot, diskAddress } from "./address.js";

/** Whether the guest's device reports no write cache. */
export const isWriteThrough = (cache: string | undefined): boolean =>
  cache === "writethrough" || cache === "directsync";

const errorPolicy = (does: string) => optional(word("stop", "report", "ignore", "enospace"), guest(does));
const driver = element({
  name: optional(word("qemu"), idle("QEMU is the only driver")),
  type: defaulted(word("raw", "qcow2"), "raw", host("-blockdev driver of the node <target>-format")),
  cache: optional(word("none", "writeback", "writethrough", "directsync", "unsafe"), {
    sees: { of: isWriteThrough },
    does: "-blockdev cache.direct and cache.no-flush, -device write-cache",
  }),
  io: optional(word("threads", "native", "io_uring"), host("-blockdev aio of the node <target>-storage")),
  discard: optional(word("unmap", "ignore"), host("-blockdev discard")),
  detect_zeroes: optional(word("off", "on", "unmap"), host("-blockdev detect-zeroes")),
  error_policy: errorPolicy("-device werror, and rerror without a rerror_policy"),
  rerror_policy: optional(word("stop", "report", "ignore"), guest("-device rerror")),
});

const live = {
  index: optional(whole(0, 2 ** 31 - 1), idle("libvirt's number of the node")),
  startupPolicy: refusedAttribute("remove it: a missing source is always an error"),
};
const nbdHost = element({
  transport: defaulted(word("tcp", "unix"), "tcp", host("-blockdev server.type")),
  name: optional(text("a host name or address", /^[\w.:%-]{1,255}$/), host("-blockdev server.host")),
  port: optional(whole(1, 65_535), host("-blockdev server.port; default 10809")),
  socket: optional(path, host("-blockdev server.path")),
});

export const disk = elementBy(
  "type",
  host("-blockdev driver file, host_device or nbd"),
  {
    file: { source: one(element({ file: needed(path, host("-blockdev filename")), ...live })) },
    block: { source: one(element({ dev: needed(path, host("-blockdev filename")), ...live })) },
    network: {
      source: exactlyOne(
        element({
          protocol: needed(word("nbd"), host("-blockdev driver nbd")),
          name: optional(text("1 to 4096 characters", /^[^\0]{1,4096}$/), host("-blockdev export")),
          hosts: many("host", nbdHost, { sees: "nothing" }),
          ...live,
        }),
      ),
    },
  },
  {
    device: defaulted(word("disk", "cdrom"), "disk", guest("-device …-hd or …-cd")),
    driver: one(driver),
    backingStore: one(element({})),
    target: exactlyOne(
      element({
        dev: needed(
          text("vda, sdb, hdc …", /^(?:vd|sd|hd)[a-z]{1,2}$/),
          guest("determines the default address and the node names <target>-format and <target>-storage"),
        ),
        bus: optional(
          word("virtio", "scsi", "ide", "sata"),
          guest("-device; default by the target: vd, sd, hd"),
        ),
        tray: optional(word("closed"), idle("a tray is closed at start")),
      }),
    ),
    readonly: flag(guest("-blockdev read-only")),
    shareable: flag(guest("-device share-rw; the default cache mode becomes none")),
    serial: one(
      element({ text: content(text("up to 36 characters", /^[\w .+-]{1,36}$/), guest("-device serial")) }),
    ),
    boot: one(boot),
    address: one(diskAddress),
    alias: one(alias),
  },
);
export type Disk = Model<typeof disk>;
