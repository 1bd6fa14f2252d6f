// Maps the result of a QMP command to an answer: QMP errors become `failed`, a missing reply becomes `unknown`.

import { type Answer, failed, messageOf, unknown } from "../../../protocol/effect-result.js";
import { QmpCommandError, QmpConnectError } from "./errors.js";

/** Runs the function; a QMP error becomes the corresponding answer. */
export async function answering<T>(run: () => Promise<Answer<T>>): Promise<Answer<T>> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof QmpCommandError)
      return failed(`QEMU rejected ${error.command}`, [error.description]);
    if (error instanceof QmpConnectError) return failed(error.message);
    return unknown(messageOf(error));
  }
}
