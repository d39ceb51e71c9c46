/** For all JavaScript of this repository but what is vendored; run from its root by `make check`. */

import js from "@eslint/js";
import globals from "globals";

export default [
  { ignores: ["**/vendor/**", "**/node_modules/**", "target/**"] },
  js.configs.recommended,
  { linterOptions: { reportUnusedDisableDirectives: "error" }, rules: { eqeqeq: ["error", "smart"], "no-var": "error", "prefer-const": "error" } },
  { files: ["clients/web/**/*.js"], languageOptions: { globals: globals.browser } },
  { files: ["tests/node/**/*.mjs"], languageOptions: { globals: globals.node } },
  // The functions given to `evaluate` run in the page.
  { files: ["tests/browser/**/*.mjs"], languageOptions: { globals: { ...globals.node, ...globals.browser } } },
];
