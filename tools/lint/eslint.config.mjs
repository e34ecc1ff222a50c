// What is asked of web/js: everything that ESLint recommends, and that nothing is left over.

import js from "@eslint/js";
import globals from "globals";

export default [
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2022, sourceType: "module", globals: globals.browser },
    rules: {
      eqeqeq: "error",
      "max-len": ["error", 120],
      "max-lines": ["error", 400],
      "no-eval": "error",
      "no-implicit-globals": "error",
      "no-unused-vars": "error",
      "no-var": "error",
      "prefer-const": "error",
    },
  },
];
