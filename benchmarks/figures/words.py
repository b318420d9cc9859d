"""The words of the tables in Chinese; what is not listed is the same in both languages."""

CHINESE = {
    "network": "网络",
    "data and setting": "数据与设置",
    "measured here?": "在此测得？",
    "yes": "是",
    "no": "否",
    "name": "名称",
    "deployed parameters": "部署参数量",
    "GMAC at 512x1024": "512x1024 时的 GMAC",
}
