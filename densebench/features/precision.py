"""The precisions in which a backbone computes; without torch, for who only names one."""

from typing import Literal

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
