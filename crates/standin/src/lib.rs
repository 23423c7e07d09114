//! A stand-in for each provider's login and API, over the real protocols, for tests and the demo.
