// The guest's CPU: model, features, topology.

import {
  content,
  defaulted,
  element,
  elementBy,
  guest,
  idle,
  many,
  needed,
  one,
  optional,
  refusedAttribute,
} from "../xml/table.js";
import { onOff, text, whole, word } from "../xml/values.js";

const name = text("a name of letters, digits, dot, dash and underscore", /^[A-Za-z\d][\w.-]{0,63}$/);
const count = (does: string) => defaulted(whole(1, 4096), 1, guest(does));

const common = {
  match: optional(word("exact"), idle("QEMU uses exactly the named model")),
  topology: one(
    element({
      sockets: needed(whole(1, 4096), guest("-smp sockets")),
      dies: count("-smp dies"),
      cores: needed(whole(1, 4096), guest("-smp cores")),
      threads: needed(whole(1, 4096), guest("-smp threads")),
    }),
  ),
  features: many(
    "feature",
    element({
      policy: defaulted(
        word("force", "require", "disable", "forbid"),
        "require",
        guest("-cpu name=on, or off for disable and forbid"),
      ),
      name: needed(name, guest("-cpu, in QEMU's spelling")),
    }),
    { key: ({ name }) => name },
  ),
};
const model = element({
  fallback: optional(
    word("allow", "forbid"),
    idle("never a fallback: without the model, QEMU does not start"),
  ),
  vendor_id: refusedAttribute("choose a model of that vendor"),
  text: content(name, guest("-cpu")),
});

export const cpu = elementBy(
  "mode",
  guest("host-model is refused, since it differs from host to host; name a model"),
  {
    custom: {
      check: defaulted(
        word("none", "partial", "full"),
        "none",
        guest("full: -cpu enforce, so that QEMU exits when the host lacks a feature"),
      ),
      model: one(model),
      vendor: one(element({ text: content(name, idle("the vendor follows from the model")) })),
    },
    maximum: {
      check: optional(word("none", "partial", "full"), idle("the CPU has every feature that QEMU supports")),
    },
    "host-passthrough": {
      check: optional(word("none", "partial", "full"), idle("the CPU has every feature of the host")),
      migratable: optional(onOff, guest("-cpu host,migratable")),
    },
  },
  common,
);
