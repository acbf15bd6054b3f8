// The button that changes between dark and light. A page begins as the system is set.

document.getElementById("theme").addEventListener("click", () => {
  const { style } = document.documentElement;
  const dark = style.colorScheme
    ? style.colorScheme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  style.colorScheme = dark ? "light" : "dark";
});
