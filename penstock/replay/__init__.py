"""`penstock replay`: a recorded tape decided on again, by the policy that decided live or by another one."""
