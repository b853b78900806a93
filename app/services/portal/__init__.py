"""The patient portal: who may use it, how they sign in, and what they may do by the clinic's rules."""
